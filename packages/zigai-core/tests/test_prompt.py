"""Prompts: text or token ids, and errors for anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.api.prompt import token_ids
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import TokenizerError
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

WRONG = {
    "bytes": b"hello",
    "bytearray": bytearray(b"hello"),
    "memoryview": memoryview(b"hello"),
    "path": Path("hello"),
    "number": 7,
    "none": None,
    "set": {1, 2},
    "mapping": {1: 2},
    "texts": ["a", "b"],
    "fractions": [1.0, 2.0],
    "truths": [True, False],
    "array of fractions": np.array([1.0]),
    "array of truths": np.array([True]),
    "two dimensions": np.array([[1, 2]]),
    "numpy truth": [np.bool_(True)],
}


@pytest.fixture(scope="module")
def model() -> Model:
    plugins = Plugins(
        architectures={"llama": lambda model, *, context: decoder(model, context=64, pairing="adjacent")},
        tokenizers={"llama": ByteTokenizer},
        backends={"numpy": NumpyBackend},
        chat_templates={"plain": "{% for m in messages %}{{ m.content }}{% endfor %}"},
    )
    return assemble(toy_decoder(layers=1), plugins=plugins)


CALLS: dict[str, Callable[[Model, Any], object]] = {
    "generate": lambda model, given: model.generate(given, max_tokens=1),
    "logits": lambda model, given: model.logits(given),
    "embed": lambda model, given: model.embed(given),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_neither_text_nor_token_ids_is_refused(model: Model, call: str, wrong: str) -> None:
    if (call, wrong) == ("embed", "texts"):
        assert model.embed(WRONG[wrong]).shape == (2, 64)
        return
    with pytest.raises(TokenizerError, match="a prompt"):
        CALLS[call](model, WRONG[wrong])


def test_the_error_for_bytes_says_to_decode_them() -> None:
    with pytest.raises(TokenizerError, match=r"not bytes: decode it first, with \.decode\('utf-8'\)"):
        token_ids(b"hello")


@pytest.mark.parametrize(
    "given",
    [
        [1, 5, 9],
        (1, 5, 9),
        range(1, 10, 4),
        np.array([1, 5, 9]),
        np.array([1, 5, 9], np.uint8),
        [np.int32(1), np.int64(5), 9],
    ],
)
def test_any_sequence_of_whole_numbers_is_accepted_as_token_ids(model: Model, given: Any) -> None:
    assert token_ids(given) == [1, 5, 9]
    np.testing.assert_array_equal(model.logits(given), model.logits([1, 5, 9]))


def test_text_gives_the_logits_of_its_tokens(model: Model) -> None:
    np.testing.assert_array_equal(model.logits("abc"), model.logits(model.tokenizer.encode("abc")))


def test_a_message_that_is_neither_text_nor_a_mapping_is_refused(model: Model) -> None:
    chat = model.chat(template="plain")
    for wrong in (b"hello", 7, ["hello"]):
        with pytest.raises(TokenizerError, match="a message is text or a mapping with a role"):
            chat.send(wrong)  # type: ignore[arg-type]
    assert chat.messages == []
