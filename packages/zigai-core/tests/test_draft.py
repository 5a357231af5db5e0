"""A draft model must have the same vocabulary, except for padding at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from zigai_core.api.draft import check_draft
from zigai_core.api.loading import assemble
from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import UnsupportedError, ZigAIError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.drafters import ModelDrafter
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder

PLUGINS = Plugins(
    architectures={"llama": lambda model, *, context: decoder(model, context=64, pairing="adjacent")},
    tokenizers={"llama": ByteTokenizer},
    backends={"numpy": NumpyBackend},
    chat_templates={"plain": "{{ messages[0].content }}"},
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
    helped = target.generate("abc", max_tokens=20, sampling=sampling, draft=draft)
    assert (helped.text, helped.tokens) == (alone.text, alone.tokens)


def test_a_closed_model_is_refused_as_a_draft_by_name() -> None:
    target, draft = model(toy(300)), model(toy(300, seed=3))
    chat = target.chat(template="plain", draft=draft)
    assert target.generate("abc", max_tokens=2, draft=draft).text is not None
    draft.close()
    for ask in (lambda: target.generate("abc", draft=draft), lambda: chat.send("abc")):
        with pytest.raises(ZigAIError, match=f"^{draft.descriptor.name} is closed, so it cannot propose"):
            ask()


def test_a_prompt_with_a_token_that_the_draft_lacks_is_no_error() -> None:
    target, draft = model(toy(340, pads(300, 340))), model(toy(300))
    reply = target.generate([5, 339], max_tokens=4, draft=draft, sampling=SamplingOptions.greedy())
    assert reply.text is not None
    assert max(reply.tokens, default=0) < 340


def test_a_token_that_only_the_draft_model_has_is_not_proposed() -> None:
    draft = model(toy(340, seed=3))
    tokens = [5, 6, 7]
    best = int(draft.logits(tokens)[-1].argmax())
    assert ModelDrafter(draft.program, 340).propose(tokens, 1) == [best]
    assert ModelDrafter(draft.program, best).propose(tokens, 1)[0] < best
