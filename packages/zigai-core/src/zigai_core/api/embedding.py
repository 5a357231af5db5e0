"""Embeddings: one vector for a text, from the hidden states of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np

from zigai_core.api.prompt import Prompt, are_several
from zigai_core.api.together import named, outputs_of
from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec
from zigai_core.contracts.errors import TokenizerError, UnsupportedError, quote
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.pooling import PoolKind
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request


def text_end(spec: TokenizerSpec | None) -> list[int]:
    """Returns the tokens that end a whole text: the end-of-text token if the file asks for it, else none."""
    eos = spec.special_ids.get("eos") if spec is not None and spec.add_eos else None
    return [] if eos is None else [eos]


class _Embeds(Protocol):
    """What `embed_texts` takes of a `Model`."""

    @property
    def descriptor(self) -> ModelDescriptor: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def engine(self) -> Engine: ...


def embed_texts(
    model: _Embeds,
    text: Prompt | Sequence[Prompt],
    encode: Callable[..., list[int]],
    pooling: PoolKind | None,
    *,
    normalize: bool,
) -> Array:
    """Returns the embedding of a text or of token ids, or of several, a row each: see `Model.embed`.

    `encode(prompt, what=…)` returns the tokens of a prompt, which errors call `what`.
    """
    width = model.graph.output("hidden").width
    given: Any = text
    several = are_several(given)
    items = [(f"text {i}", one) for i, one in enumerate(given)] if several else [("a prompt", given)]
    names = [what if several else "" for what, _ in items]
    prompts = []
    for (what, one), name in zip(items, names, strict=True):
        with named(name if isinstance(one, str) else ""):  # errors about token ids name them
            prompts.append(encode(one, what=what))
    empty = next((what for (what, _), prompt in zip(items, prompts, strict=True) if not prompt), None)
    if empty is not None:
        raise TokenizerError(f"{empty} has no tokens, so it has no embedding")
    ending = text_end(model.descriptor.tokenizer)
    prompts = [
        [*prompt, *ending] if isinstance(one, str) else prompt
        for prompt, (_, one) in zip(prompts, items, strict=True)
    ]
    named_prompts = list(zip(names, prompts, strict=True))
    rows = embed(
        model.engine, named_prompts, pooling, own=model.graph.pooling, width=width, normalize=normalize
    )
    return rows if several else rows[0]


def embed(
    engine: Engine,
    prompts: Sequence[tuple[str, Sequence[int]]],
    pooling: PoolKind | None,
    *,
    own: str | None = None,
    width: int,
    normalize: bool,
) -> Array:
    """Returns an embedding for each prompt: float32 `[len(prompts), width]`. Errors name it as given.

    `own` is the pooling that the graph itself does (`Graph.pooling`). `pooling` None is that, or else `last`.

    Raises `UnsupportedError` for an unknown pooling, and for one that is not the graph's own if it has one.
    """
    if pooling is not None and pooling not in get_args(PoolKind):
        raise UnsupportedError(f"pooling must be {', '.join(get_args(PoolKind))}, not {quote(pooling)}")
    if own is not None and pooling not in (None, own):
        raise UnsupportedError(
            f"pooling={quote(pooling)}: this model makes one embedding of a text itself, by {own} pooling, "
            "and has no states of single tokens: leave pooling out"
        )
    if pooling is None or own is not None:
        pooling = "last"  # of a graph that pools, all rows are equal
    rows: Literal["last", "all"] = "last" if pooling == "last" else "all"
    requests = ((name, Request(prompt, outputs="hidden", rows=rows)) for name, prompt in prompts)
    pooled = [_pool(outputs, pooling) for outputs in outputs_of(engine, requests)]
    embeddings = np.stack(pooled) if pooled else np.empty((0, width), np.float32)
    if normalize:
        lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
        embeddings = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    return embeddings


def _pool(hidden: Array, pooling: PoolKind) -> Array:
    if pooling == "mean":
        mean: Array = hidden.mean(axis=0, dtype=np.float32)
        return mean
    pooled: Array = hidden[0] if pooling == "cls" else hidden[-1]
    return pooled
