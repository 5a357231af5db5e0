"""`zig-ai perplexity`: the definition, the windows, and texts that cannot be measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_runner import zig_ai

from zigai_cli.failure import InputError
from zigai_cli.measure.perplexity import Window, windows
from zigai_core.api import loading
from zigai_core.api.registry import Plugins
from zigai_core.ops.reference import NumpyBackend

TEXT = "A text of a few words, longer than two windows: 0123456789, and so on, until it ends here."


@pytest.fixture(autouse=True)
def numpy_backend(monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> None:
    monkeypatch.setitem(plugins.backends._given, "numpy", NumpyBackend)


def direct(path: Path, context: int) -> np.ndarray:
    """The surprise of each scored token, by llama.cpp's definition, from `Model.logits`."""
    model = loading.load(path, backend="numpy", context=context)
    tokens = model.tokenizer.encode(TEXT)
    nats = []
    for start in range(0, len(tokens) - context + 1, context):
        window = tokens[start : start + context]
        logits = model.logits([model.tokenizer.special_ids["bos"], *window[1:]]).astype(np.float64)
        for place in range(context // 2, context - 1):
            row = logits[place]
            nats.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[window[place + 1]])
    return np.array(nats)


def test_perplexity_is_that_of_llama_cpp(model: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    arguments = ["perplexity", "-m", model, "--backend", "numpy", "--window", 33]
    figures = json.loads(zig_ai(*arguments, text, "--json").stdout)
    nats = direct(model, 33)
    assert figures["scored"] == len(nats) == 32
    assert figures["perplexity"] == pytest.approx(np.exp(nats.mean()), rel=1e-4)
    error = np.sqrt(((nats**2).mean() - nats.mean() ** 2) / (len(nats) - 1)) * np.exp(nats.mean())
    assert figures["error"] == pytest.approx(error, rel=1e-4)
    assert figures["bos"]
    shown = zig_ai(*arguments, input=TEXT).stdout
    assert shown == f"{figures['perplexity']:.4f} ± {figures['error']:.4f}\n"


def test_windows_follow_one_another_or_overlap_with_a_stride() -> None:
    assert windows(1100, 512, None, None) == [Window(0, 512, 255), Window(512, 512, 255)]
    assert windows(1100, 512, None, 1) == [Window(0, 512, 255)]
    assert [window.start for window in windows(1000, 400, 100, None)] == [0, 100, 200, 300, 400, 500, 600]
    assert {window.scored for window in windows(1000, 400, 100, None)} == {100}
    with pytest.raises(InputError, match=r"100 tokens, but a window has 512: .* --context 100"):
        windows(100, 512, None, None)
    with pytest.raises(InputError, match="--stride 400: must be from 1 to 399"):
        windows(1000, 400, 400, None)


def test_strided_scores_are_those_of_longer_contexts(model: Path) -> None:
    arguments = ["perplexity", "-m", model, "--backend", "numpy", "--window", 32, "--stride", 8, "--json"]
    figures = json.loads(zig_ai(*arguments, input=TEXT).stdout)
    assert figures["scored"] == 8 * figures["windows"]
    assert figures["windows"] == (figures["tokens"] - 32) // 8 + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe text", "is not UTF-8 text (at byte 0)"),
        (b"short", "the text has 6 tokens, but a window has 64"),
    ],
)
def test_a_text_that_cannot_be_measured_is_an_error(
    make_model: Callable[..., Path], tmp_path: Path, content: bytes, message: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    result = zig_ai("perplexity", "-m", make_model(), text)
    assert result.exit_code == 1
    assert message in result.stderr
