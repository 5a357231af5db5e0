"""What the conformance suite does not see: errors that name a key, and the length of the modules."""

from __future__ import annotations

import inspect

import pytest

import zigai_qwen.qwen2
import zigai_qwen.qwen3
from zigai_core.contracts.errors import FormatError
from zigai_core.testing.toys import toy_decoder
from zigai_qwen import qwen3moe


def test_qwen3moe_without_expert_count_is_an_error_that_names_the_key() -> None:
    with pytest.raises(FormatError, match=r"qwen3moe\.expert_count is missing"):
        qwen3moe(toy_decoder("qwen3moe", qk_norm=True), context=64)


@pytest.mark.parametrize("module", [zigai_qwen.qwen2, zigai_qwen.qwen3])
def test_a_module_of_the_family_has_fewer_than_sixty_lines(module: object) -> None:
    assert len(inspect.getsource(module).splitlines()) < 60
