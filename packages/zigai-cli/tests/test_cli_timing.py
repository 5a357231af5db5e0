"""Timing: which work is measured, and cancellation."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zigai_cli.measure.timing import Timing, Work
from zigai_core.api import loading
from zigai_core.api.registry import Plugins
from zigai_core.engine.direct import DirectRunner, Part


def test_timing_runs_every_round_and_excludes_the_warm_up(model: Path, plugins: Plugins) -> None:
    loaded = loading.load(model, plugins=plugins)
    timing = Timing(loaded, Work(prompt=8, generate=4, repeat=3))
    assert len(list(timing)) == 8
    assert len(timing.prompt_tps) == len(timing.generate_tps) == len(timing.first_token_s) == 3


def test_sequences_are_filled_once_and_every_round_decodes_from_their_depth(
    model: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loading.load(model, plugins=plugins, context=24)
    steps: list[list[tuple[int, int]]] = []
    run = DirectRunner.run

    def recording(runner: DirectRunner, parts: Sequence[Part]) -> Any:
        steps.append([(part.sequence.length, len(part.tokens)) for part in parts])
        return run(runner, parts)

    monkeypatch.setattr(DirectRunner, "run", recording)
    timing = Timing(loaded, Work(prompt=24, generate=2, depth=20, sequences=2, repeat=2))
    list(timing)
    assert steps == [[(0, 24)]] * 3 + [[(0, 20)]] * 2 + [[(20, 1)] * 2, [(21, 1)] * 2] * 3
    assert (len(timing.prompt_tps), len(timing.generate_tps)) == (2, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_process_age_is_the_time_since_the_process_started() -> None:
    program = (
        "import time; time.sleep(0.5); from zigai_cli.measure.timing import process_age; print(process_age())"
    )
    began = time.monotonic()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.48 < float(run.stdout) < time.monotonic() - began + 0.02


def test_a_cancelled_timing_ends(model: Path, plugins: Plugins) -> None:
    timing = Timing(loading.load(model, plugins=plugins), Work(prompt=8, generate=4, repeat=1000))
    rounds = iter(timing)
    next(rounds)
    timing.cancel()
    assert list(rounds) == []
