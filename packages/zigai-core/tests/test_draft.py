"""A draft model must have the same vocabulary, except for padding at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from zigai_core.api.draft import check_draft
from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.speculation import SessionDrafter
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

PLUGINS = Plugins(
    architectures={"llama": lambda model, *, context: decoder(model, context=64, pairing="adjacent")},
    tokenizers={"llama": ByteTokenizer},
    backends={"numpy": NumpyBackend},
)


def toy(size: int, padding: Sequence[str] = (), *, unused: bool = False, seed: int = 7) -> ModelDescriptor:
    """A toy with a vocabulary of `size` tokens, the last of which are `padding`."""
    model = toy_decoder(layers=1, vocabulary=size, seed=seed)
    spec = model.tokenizer
    assert spec is not None
    assert spec.types is not None
    tokens = [*list(spec.tokens)[: size - len(padding)], *padding]
    types = spec.types.copy()
    if unused:
        types[size - len(padding) :] = 5
    return dataclasses.replace(model, tokenizer=dataclasses.replace(spec, tokens=tokens, types=types))


def pads(first: int, last: int) -> list[str]:
    return [f"[PAD{token}]" for token in range(first, last)]


@pytest.mark.parametrize(
    "draft",
    [
        toy(300),
        toy(320, pads(300, 320)),
        toy(320, [f"<unused{token}>" for token in range(20)]),
        toy(320, [f"whatever {token}" for token in range(20)], unused=True),
    ],
)
def test_padding_tokens_may_differ_in_number_and_spelling(draft: ModelDescriptor) -> None:
    check_draft(toy(310, pads(300, 310)), draft)
    check_draft(draft, toy(310, pads(300, 310)))


@pytest.mark.parametrize("draft", [toy(301), toy(310, ["another", *pads(301, 310)]), toy(300, ["another"])])
def test_other_tokens_may_not_differ(draft: ModelDescriptor) -> None:
    with pytest.raises(
        UnsupportedError, match=r"cannot be the draft .*vocabularies differ; token (299|300) is"
    ):
        check_draft(toy(310, pads(300, 310)), draft)


def model(descriptor: ModelDescriptor) -> Model:
    return assemble(descriptor, plugins=PLUGINS)


@pytest.mark.parametrize(("ours", "theirs"), [(300, 340), (340, 300)])
def test_a_draft_model_with_another_vocabulary_size_does_not_change_the_text(ours: int, theirs: int) -> None:
    target = model(toy(ours, pads(300, ours)))
    draft = model(toy(theirs, pads(300, theirs), seed=3))
    sampling = SamplingOptions.greedy()
    alone = target.generate("abc", max_tokens=20, sampling=sampling)
    alone.complete()
    helped = target.generate("abc", max_tokens=20, sampling=sampling, draft=draft)
    helped.complete()
    assert helped.tokens == alone.tokens


def test_a_prompt_with_a_token_that_the_draft_lacks_is_no_error() -> None:
    target, draft = model(toy(340, pads(300, 340))), model(toy(300))
    tokens = target.generate([5, 339], max_tokens=4, draft=draft, sampling=SamplingOptions.greedy())
    tokens.complete()
    assert np.all(np.array(tokens.tokens) < 340)


class Padded:
    """A session with a vocabulary of 340 tokens, of which the last is most likely, then token 7."""

    context = 64
    vocabulary = 340

    def replace(self, tokens: Sequence[int]) -> None: ...

    def extend(self, tokens: Sequence[int]) -> None: ...

    def logits(self) -> np.ndarray:
        logits = np.zeros(340, np.float32)
        logits[[339, 7]] = 2, 1
        return logits


def test_a_token_that_only_the_draft_model_has_is_not_proposed() -> None:
    assert SessionDrafter(Padded(), 300).guess([5], 2) == [7, 7]  # type: ignore[arg-type]
    assert SessionDrafter(Padded(), 340).guess([5], 2) == [339, 339]  # type: ignore[arg-type]
