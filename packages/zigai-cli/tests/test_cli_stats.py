"""The line of statistics says what was measured."""

from __future__ import annotations

import re

from zigai_cli import stats
from zigai_core.testing.engine.scripted import scripted_model


def test_the_line_has_counts_rates_and_context() -> None:
    model = scripted_model("done", "done")
    assert model.generate("x" * 20, max_tokens=4).text == "done"
    reply = model.generate("x" * 20, max_tokens=4)
    assert reply.text == "done"
    found = re.fullmatch(
        r"prefill (\d+) tokens?, [\d.]+/s \((\d+) cached\) · decode 4, [\d.]+/s · first token [\d.]+ s"
        r" · context 25/96",
        stats.line(reply),
    )
    assert found is not None
    assert int(found[1]) + int(found[2]) == reply.usage.prompt_tokens == 21


def test_a_reply_that_was_stopped_in_its_prefill_has_no_figures_that_were_not_measured() -> None:
    model = scripted_model(context=400)
    reply = model.generate([1, *range(3, 103)])
    reply.cancel()
    assert reply.text == ""
    assert stats.line(reply) == "prefill 0 tokens · decode 0 · context 101/400"
    assert stats.record(reply)["computed_tokens"] == 0
