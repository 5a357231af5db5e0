"""A toy model whose replies are given in advance, for tests of what is built on replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from zigai_core.api.chat import Chat
from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.api.samplers import Samplers
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.engine.request import Budget
from zigai_core.engine.sampling import Sampler
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder
from zigai_core.text.chat_template import ChatTemplate

END = 2
"""The token that ends a reply."""


class ScriptedSampler(Sampler):
    """Draws given tokens, whatever the logits are."""

    def __init__(self, tokens: Sequence[int]) -> None:
        super().__init__(SamplingOptions.greedy())
        self._script = list(tokens)

    def sample(self, logits: Array, *_: Any, **__: Any) -> int:
        """Returns the token at the sampler's index; the last one if there are no more."""
        return self._script[min(self.index, len(self._script) - 1)]


class ScriptedSamplers(Samplers):
    """Gives each reply its script, and ordinary samplers when there are no more."""

    def __init__(self, model: Model, replies: Sequence[str], plugins: Plugins) -> None:
        super().__init__(model.program, model.tokenizer, plugins)
        encode = model.tokenizer.encode
        self._scripts = deque([*encode(reply, bos=False), END] for reply in replies)

    def new(self, options: SamplingOptions, changes: Mapping[str, Any] | None = None) -> Sampler:
        """Returns the sampler of the next reply."""
        made = super().new(options, changes)  # checks the options
        return ScriptedSampler(self._scripts.popleft()) if self._scripts else made


def scripted_model(
    *replies: str, context: int = 96, batch: int = 32, page: int = 8, budget: Budget | None = None
) -> Model:
    """Returns a toy decoder on numpy that gives these replies, one after another, and ends each.

    Replies after the last one are the toy's own.
    """
    descriptor = toy_decoder(layers=1)
    assert descriptor.tokenizer is not None
    graph = decoder(descriptor, context=context, pairing="adjacent")
    options = CompileOptions(context=context, batch=batch, page=page)
    program = NumpyBackend().compile(graph, descriptor.tensors, options)
    tokenizer, plugins = ByteTokenizer(descriptor.tokenizer), Plugins()
    model = Model(
        descriptor, program, tokenizer, backend="numpy", choice="numpy", plugins=plugins, budget=budget
    )
    model._samplers = ScriptedSamplers(model, replies, plugins)
    return model


TEMPLATE = ChatTemplate(
    "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}",
    origin="the test's template",
)


def scripted_chat(
    *replies: str, template: ChatTemplate = TEMPLATE, context: int = 96, **keywords: Any
) -> Chat:
    """Returns a chat with a model that gives these replies. `keywords` are those of `Model.chat`."""
    return scripted_model(*replies, context=context).chat(template=template, **keywords)
