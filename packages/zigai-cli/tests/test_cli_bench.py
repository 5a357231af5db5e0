"""`zig-ai bench`: figures, profiles and models with random weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_runner import zig_ai

from zigai_cli.measure import shapes
from zigai_core.api.registry import Plugins
from zigai_core.contracts.graph import Graph
from zigai_core.ops.reference import NumpyBackend

pytestmark = pytest.mark.usefixtures("plugins")


def test_bench_with_json_prints_the_requested_figures(model: Path) -> None:
    work = ["--prompt", 20, "--generate", 6, "--depth", 9, "--sequences", 3, "--repeat", 2, "--threads", 1]
    figures = json.loads(zig_ai("bench", model, *work, "--json").stdout)
    expected = {"prompt": 20, "generate": 6, "depth": 9, "sequences": 3, "repeat": 2, "threads": 1}
    assert figures.items() >= expected.items()
    assert figures["prompt_tps"] > 0 < figures["generate_tps"]
    assert figures["load_s"] > 0 < figures["first_token_s"]
    assert sys.platform == "win32" or figures["peak_resident_bytes"] > 1 << 20
    assert sys.platform != "linux" or figures["start_to_token_s"] > figures["first_token_s"]
    assert (figures["engine"], figures["model"], figures["backend"]) == ("zigai", "model.toy", "toy")
    alone = json.loads(zig_ai("bench", "-m", model, "--prompt", 0, "--generate", 4, "--json").stdout)
    assert "prompt_tps" not in alone


def test_bench_prints_a_table(model: Path) -> None:
    result = zig_ai("bench", model, "--prompt", 20, "--generate", 6, "--sequences", 2, "--depth", 4)
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:]] == [
        "prompt of 20",
        "generate 6 × 2 at a depth of 4",
    ]
    assert "loaded in" in result.stderr


def test_a_backend_without_profiling_is_an_error(model: Path) -> None:
    result = zig_ai("bench", model, "--prompt", 8, "--generate", 4, "--profile")
    assert result.exit_code == 1
    assert "the backend toy cannot measure the time of operations" in result.stderr


def test_a_profile_sums_over_layers(monkeypatch: pytest.MonkeyPatch, plugins: Plugins, model: Path) -> None:
    monkeypatch.setitem(plugins.backends._given, "numpy", NumpyBackend)
    work = ["--prompt", 8, "--generate", 4, "--backend", "numpy", "--profile"]
    result = zig_ai("bench", model, *work, "--json")
    assert result.exit_code == 0, result.stderr
    profile = json.loads(result.stdout)["profile"]
    assert list(profile) == ["prompt", "generate"]
    for times in profile.values():
        assert {"Linear", "Attention", "RMSNorm"} <= {row["operation"] for row in times}
        assert sum(row["seconds"] for row in times) > 0
        assert not any(row["output"].startswith("blk.") for row in times)
    assert "share" in zig_ai("bench", model, *work).stdout


def test_bench_runs_a_synthetic_model(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"architecture": "toy", "layers": 1, "vocabulary": 300}
    monkeypatch.setattr(shapes, "SHAPES", {"small": small})
    work = ["--prompt", 8, "--generate", 4, "--json"]
    figures = json.loads(zig_ai("bench", "--synthetic", "small:Q8_0", *work).stdout)
    assert figures["model"] == "small:Q8_0"
    wrong = zig_ai("bench", "--synthetic", "large:Q8_0")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    assert "no random model large:Q8_0; shapes: small; types: F32" in wrong.stderr


@pytest.fixture
def encoder(
    make_model: Callable[..., Path], plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    monkeypatch.setitem(plugins.backends._given, "numpy", NumpyBackend)
    return (str(make_model("encoder.toy", architecture="toy-encoder")), "--backend", "numpy")


def test_of_an_encoder_whole_texts_are_timed_and_no_decode(encoder: tuple[str, ...], tmp_path: Path) -> None:
    drawn = tmp_path / "speed.svg"
    work = ["--prompt", 40, "--repeat", 1, "--plot-file", drawn]
    figures = json.loads(zig_ai("bench", *encoder, *work, "--json").stdout)
    assert (figures["prompt"], figures["generate"]) == (40, 0)
    assert figures["prompt_tps"] > 0
    assert "generate_tps" not in figures
    assert ([*map(len, figures["curves"].values())][1], figures["curves"]["prefill"][-1]["tokens"]) == (0, 40)
    assert drawn.exists()
    assert zig_ai("bench", *encoder, *work).stdout.splitlines()[1].startswith("prompt of 40")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--depth", 4],
            "the model is an encoder, which generates nothing: leave out --generate, --depth and",
        ),
        (["--sequences", 2], "leave out --generate, --depth and --sequences"),
        (["--generate", 8], "leave out --generate, --depth and --sequences"),
        (["--prompt", 0], "the model is an encoder, which generates nothing: give --prompt N"),
        (["--prompt", 21], "--prompt is 21, but the model knows 20 positions: give --prompt 20 or less"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused_with_what_to_do(
    encoder: tuple[str, ...], arguments: list[object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Graph, "position_limit", 20)
    result = zig_ai("bench", *encoder, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "arguments", [["generate", "hi"], ["chat", "hi"], ["perplexity", "-", "--window", "8"]]
)
def test_an_encoder_neither_generates_nor_predicts_and_says_what_it_is_for(
    encoder: tuple[str, ...], arguments: list[str]
) -> None:
    command, *rest = arguments
    result = zig_ai(command, "-m", *encoder, *rest, input="a text of some words" * 4)
    assert result.exit_code == 1
    assert "it neither generates text nor predicts it; use embed() (zig-ai embed)" in result.stderr
