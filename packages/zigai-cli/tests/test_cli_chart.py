"""Charts, and those of `zig-ai bench`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_runner import zig_ai

from zigai_cli.measure.chart import Chart, Series, chart_svg, ticks


def chart(ys: list[float], **options: bool) -> Chart:
    return Chart("a <title>", "steps", "speed", [Series("", range(1, len(ys) + 1), ys)], **options)


def test_points_that_cannot_be_drawn_are_left_out() -> None:
    assert chart([1, math.nan, 2, math.inf]).shown() == [Series("", [1, 3], [1, 2])]
    assert chart([0, 10, -1], log_y=True).shown() == [Series("", [2], [10])]
    for empty in (chart([]), chart([math.nan])):
        assert empty.text().endswith("nothing to draw\n")
        assert "nothing to draw" in empty.svg()


def test_higher_values_are_drawn_higher() -> None:
    lines = chart([1, 2, 3, 4], from_zero=True).text().splitlines()
    assert lines[0].strip() == "a <title>: speed by steps"
    first = next(line for line in lines if "▀" in line)
    assert first.index("▀") > len(first) / 2


@pytest.mark.parametrize("ys", [[5.0], [2.0, 2.0], [1e-9, 1e9], [0.0, 0.0]])
@pytest.mark.parametrize("log_y", [False, True])
def test_svg_holds_its_points_for_any_range(ys: list[float], log_y: bool) -> None:
    root = ElementTree.fromstring(chart_svg([chart(ys, log_y=log_y), chart(ys)]))
    for dot in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(dot.attrib["cx"]) <= float(root.attrib["width"])
        assert 0 <= float(dot.attrib["cy"]) <= float(root.attrib["height"])


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(3, 3) == [3]
    assert all(0.013 <= tick <= 0.087 for tick in ticks(0.013, 0.087))


@pytest.mark.usefixtures("plugins")
def test_bench_draws_speed_against_length_and_depth(model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "bench.svg"
    work = ["--prompt", 20, "--generate", 4, "--depth", 8, "--repeat", 1, "--plot-file", picture]
    result = zig_ai("bench", model, *work, "--plot")
    assert result.exit_code == 0, result.stderr
    assert "prefill of model.toy: tokens/s by tokens of the prompt" in result.stdout
    assert "decode of model.toy: tokens/s by tokens in the context before" in result.stdout
    assert picture.read_text().startswith("<svg")
    curves = json.loads(zig_ai("bench", model, *work, "--json").stdout)["curves"]
    assert [row["tokens"] for row in curves["prefill"]] == [1, 2, 5, 10, 20]
    assert [row["tokens"] for row in curves["decode"]] == [0, 1, 2, 4, 8]
    assert all(row["tps"] > 0 for rows in curves.values() for row in rows)
    for arguments in (["--plot", "--json"], ["--plot-file", "x.png"]):
        assert zig_ai("bench", model, *arguments).exit_code == 2
