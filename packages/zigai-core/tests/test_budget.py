"""The budget of an engine, as an option of loading: in tokens or bytes, refused at loading if too small."""

from __future__ import annotations

from typing import Any

import pytest

from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import ContextOverflowError, UnsupportedError
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

PLUGINS = Plugins(
    architectures={"llama": lambda model, *, context: decoder(model, context=64, pairing="adjacent")},
    tokenizers={"llama": ByteTokenizer},
    backends={"numpy": NumpyBackend},
)


def load(budget: Any) -> Model:
    return assemble(toy_decoder(layers=1), plugins=PLUGINS, budget=budget)


def test_a_budget_that_holds_nothing_is_refused_at_loading() -> None:
    with pytest.raises(UnsupportedError, match=r"budget of 1024 bytes is too small: \d+ bytes are needed"):
        load("1K")


def test_a_budget_in_tokens_limits_a_sequence() -> None:
    with load(20) as model:
        with pytest.raises(ContextOverflowError, match="the prompt has 21 tokens, and the budget holds 20"):
            model.generate([5] * 21)
        assert model.generate([5] * 10, max_tokens=4, temperature=0).text is not None


def test_a_budget_in_bytes_is_the_memory_of_all_pages() -> None:
    with load("1M") as model:
        (pages,) = (group.total for group in model.engine.stats().groups)
        (weight,) = model.program.state_bytes
        assert pages * weight <= 1 << 20 < (pages + 1) * weight
