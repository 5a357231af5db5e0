"""What the names of the family compute from config.json."""

from __future__ import annotations

from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_gemma.huggingface import GEMMA2, GEMMA3, GEMMA3_TEXT

EMBEDDING = GEMMA3_TEXT.variants["use_bidirectional_attention"]


@pytest.mark.parametrize("name", ["attn_logit_softcapping", "final_logit_softcapping"])
def test_a_soft_cap_of_null_is_none_which_gemma2_writes_as_0(name: str) -> None:
    cap = GEMMA2.computed[name]
    assert (cap(None), cap(50), cap(0.5)) == ({name: 0.0}, {name: 50.0}, {name: 0.5})
    assert GEMMA3.computed["final_logit_softcapping"](None) == {}
    assert "final_logit_softcapping" not in EMBEDDING.computed


@pytest.mark.parametrize("value", [False, True, 0, -1, 1e30, float("nan"), float("inf"), "x", [], {}])
@pytest.mark.parametrize("names", [GEMMA2, GEMMA3, GEMMA3_TEXT])
def test_a_soft_cap_that_is_no_number_above_0_is_an_error(names: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="must be a number above 0, or null for no cap"):
        names.computed["final_logit_softcapping"](value)


@pytest.mark.parametrize("names", [GEMMA2, GEMMA3, GEMMA3_TEXT, EMBEDDING])
def test_a_window_of_null_or_0_is_refused(names: Any) -> None:
    """transformers computes no layer with a window then, either."""
    for value in (None, 0):
        with pytest.raises(UnsupportedError, match=f"{value} is no window, but the family's layers have one"):
            names.computed["sliding_window"](value)
    assert names.computed["sliding_window"](512) == {"attention.sliding_window": 512}
