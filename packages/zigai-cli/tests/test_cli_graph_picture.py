"""`zig-ai inspect --graph`: layers that are alike are drawn once, in three formats."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_runner import zig_ai

from zigai_cli.measure.graph_picture import GraphPicture
from zigai_cli.measure.graph_sections import sections
from zigai_core.ops.blocks import decoder
from zigai_core.ops.operations.norms import RMSNorm
from zigai_core.testing.toys import toy_decoder

MODEL = toy_decoder("toy", layers=4, vocabulary=300)
GRAPH = decoder(MODEL, context=32, pairing="adjacent")
PICTURE = GraphPicture(GRAPH, MODEL.tensors, "a <toy> & more")


def test_layers_that_are_alike_are_one_section() -> None:
    found = sections(GRAPH)
    # In the last layer only the output rows go on, so it is another one.
    assert [section.title for section in found] == ["", "3 layers alike: 0-2", "layer 3", ""]
    drawn = [operation for section in found for operation in section.operations]
    assert len(drawn) == len(GRAPH.operations) - 2 * len(found[1].operations)


def test_a_layer_with_another_attribute_is_not_alike() -> None:
    changed = tuple(
        replace(operation, epsilon=0.5)
        if isinstance(operation, RMSNorm) and operation.output.name == "blk.1.attn_norm"
        else operation
        for operation in GRAPH
    )
    found = sections(replace(GRAPH, operations=changed))
    assert [section.title for section in found] == ["", "2 layers alike: 0, 2", "layer 1", "layer 3", ""]


def test_svg_shows_each_operation_once_with_its_shapes() -> None:
    root = ElementTree.fromstring(PICTURE.svg())
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "a <toy> & more"
    assert "3 layers alike: 0-2" in texts
    assert texts.count("Attention") == 2
    assert texts.count(f"attn_q [tokens, {GRAPH.operations[2].output.width}]") == 2
    assert any(re.fullmatch(r"attn_q\.weight \d+×64 F32", text) for text in texts)


def test_boxes_of_the_svg_do_not_overlap() -> None:
    root = ElementTree.fromstring(PICTURE.svg())
    boxes = [
        tuple(float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        for box in root.iter("{http://www.w3.org/2000/svg}rect")
        if box.attrib.get("rx") == "4"
    ]
    width = float(root.attrib["width"])
    for index, (x, y, w, h) in enumerate(boxes):
        assert x >= 0 and x + w <= width
        for left, top, wide, high in boxes[index + 1 :]:
            assert x + w <= left or left + wide <= x or y + h <= top or top + high <= y


def test_edges_of_the_dot_file_join_operations_that_are_drawn() -> None:
    text = PICTURE.dot()
    nodes = set(re.findall(r'^ +("[^"]+") \[', text, re.MULTILINE))
    edges = re.findall(r'^ +("[^"]+") -> ("[^"]+");', text, re.MULTILINE)
    assert edges
    assert {end for edge in edges for end in edge} <= nodes
    assert ('"blk.0.ffn_residual"', '"blk.3.attn_norm"') in edges


def test_text_has_a_line_for_each_operation() -> None:
    lines = PICTURE.text().splitlines()
    assert len(lines) == 1 + 2 + 1 + sum(len(section.operations) for section in sections(GRAPH))
    assert lines[-1] == "outputs: hidden is output_norm, logits is logits"


@pytest.mark.usefixtures("plugins")
def test_inspect_writes_the_format_of_the_suffix(model: Path, tmp_path: Path) -> None:
    for suffix, beginning in (("svg", "<svg"), ("dot", "digraph"), ("txt", "toy model")):
        out = tmp_path / f"graph.{suffix}"
        result = zig_ai("inspect", model, "--graph", out)
        assert result.exit_code == 0
        assert result.stdout == ""
        assert out.read_text().startswith(beginning)
    for arguments in (
        ["--graph", "x.png"],
        ["--graph", "no-such-folder/x.svg"],
        ["--graph", "x.svg", "--json"],
    ):
        assert zig_ai("inspect", model, *arguments).exit_code == 2
