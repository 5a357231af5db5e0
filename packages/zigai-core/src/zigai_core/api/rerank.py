"""Scores of pairs of a query and a document, by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from zigai_core.api.embedding import text_end
from zigai_core.api.together import named, outputs_of
from zigai_core.contracts.descriptor import ModelDescriptor, TokenizerSpec
from zigai_core.contracts.errors import ContextOverflowError, TokenizerError, UnsupportedError, quote
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.engine import Engine
from zigai_core.engine.request import Request


class _Reranks(Protocol):
    """What `rerank` takes of a `Model`."""

    @property
    def descriptor(self) -> ModelDescriptor: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def engine(self) -> Engine: ...


def rerank(model: _Reranks, query: str, documents: Sequence[str], *, truncate: bool) -> Array:
    """Returns a score for each document, float32 `[documents]`: see `Model.rerank`."""
    name, spec = model.descriptor.name, model.descriptor.tokenizer
    width = model.graph.output("scores").width
    if width != 1:
        labels = model.descriptor.hyperparameters.get("classifier.output_labels", None)
        named = f" ({', '.join(map(str, labels))})" if isinstance(labels, Sequence) else ""
        raise UnsupportedError(
            f"{name} gives {width} scores for a text{named}, and a reranker gives one: it is a classifier, "
            'whose scores outputs("scores", tokens) returns'
        )
    tokenizer = model.tokenizer
    if spec is None or not spec.separators:
        raise UnsupportedError(
            f"the tokenizer of {name} has no form for pairs of texts, so nothing says how the model reads a "
            "query and a document: use a file whose tokenizer has one (the post_processor of tokenizer.json)"
        )
    given: Any = documents
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise TokenizerError(f"documents must be a list of texts, not {quote(given)}")
    for number, text in enumerate([query, *given]):
        if not isinstance(text, str):
            what = f"document {number - 1}" if number else "the query"
            raise TokenizerError(f"{what} must be a text, not {type(text).__name__}")
    requests = _requests(model, tokenizer, spec, query, documents, truncate=truncate)
    return np.array([outputs[-1, 0] for outputs in outputs_of(model.engine, requests)], np.float32)


def _requests(
    model: _Reranks,
    tokenizer: Tokenizer,
    spec: TokenizerSpec,
    query: str,
    documents: Sequence[str],
    *,
    truncate: bool,
) -> list[tuple[str, Request]]:
    """A request for each pair, with its name: BOS, the query, separators, the document, EOS.

    All are made before one is computed, so that a document which is too long is known at once.
    """
    context = model.engine.context
    end = text_end(spec)
    with named("the query"):
        first = [*tokenizer.encode(query, bos=spec.add_bos), *spec.separators]
    room = context - len(first) - len(end)
    if room < 1 and documents:
        raise ContextOverflowError(
            f"the query leaves no room for a document: with the tokens around it it has {len(first)} tokens, "
            f"and {len(end)} end a pair, but the context holds {context}; give a shorter query"
        )
    kind = spec.second_type if model.graph.type_limit > spec.second_type else 0
    requests = []
    for number, text in enumerate(documents):
        what = f"document {number}"
        with named(what):
            document = tokenizer.encode(text, bos=False)
        if len(document) > room:
            if not truncate:
                raise ContextOverflowError(
                    f"{what} has {len(document)} tokens, but beside the query the context of "
                    f"{context} holds {room}: give a shorter document, or truncate=True (--truncate) to cut "
                    "off its end"
                )
            document = document[:room]
        prompt = [*first, *document, *end]
        types = [*[0] * len(first), *[kind] * (len(prompt) - len(first))] if kind else None
        requests.append((what, Request(prompt, types=types, outputs="scores", rows="last")))
    return requests
