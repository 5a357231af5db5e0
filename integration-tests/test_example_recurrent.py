"""The recurrent example: a plugin with an operation and a state of its own, in process."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from toy_mingru import toy_mingru
from toy_model import write_toy

import zigai
from zigai_core.api.loading import assemble, build
from zigai_mingru import MinGRU, mingru

FOLDER = Path(__file__).resolve().with_name("example-recurrent")


@pytest.fixture
def plugins() -> zigai.Plugins:
    return zigai.Plugins.installed().extended(architectures={"mingru": mingru})


def test_the_native_backend_names_the_operation_that_it_lacks(plugins: zigai.Plugins) -> None:
    with pytest.raises(zigai.UnsupportedError, match=r"operation MinGRU \(blk\.0\.gru\)"):
        assemble(toy_mingru(), plugins=plugins, backend="native")
    model = assemble(toy_mingru(), plugins=plugins)
    assert model.backend == "numpy"
    assert "MinGRU" in model.choice


def test_a_model_in_a_gguf_file_chats(plugins: zigai.Plugins, tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    write_toy(path, toy_mingru())
    model = zigai.load(path, plugins=plugins, backend="numpy")
    assert sum(isinstance(operation, MinGRU) for operation in model.graph) == 2
    chat = model.chat()
    for question in ("Hello", "And again"):
        reply = chat.send(question, max_tokens=6, temperature=0)
        assert isinstance(reply.text, str)
        assert reply.tokens


def test_it_is_found_by_the_name_that_its_project_declares() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["zigai.architectures"] == {"mingru": "zigai_mingru:mingru"}
    assert {line.split(">")[0] for line in project["dependencies"]} == {"zigai-core", "numpy"}


def test_its_graph_has_a_state_for_each_layer(plugins: zigai.Plugins) -> None:
    graph = build(toy_mingru(layers=3), context=64, plugins=plugins)
    (group,) = graph.groups
    assert group.recurrent
    assert [state.name for state in group.states] == ["blk.0.gru", "blk.1.gru", "blk.2.gru"]
