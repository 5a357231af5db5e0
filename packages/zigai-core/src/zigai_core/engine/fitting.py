"""Makes prompts and full sequences fit the context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zigai_core.contracts.batch import IN_PLACE
from zigai_core.contracts.errors import ContextOverflowError, TokenizerError, UnsupportedError
from zigai_core.contracts.plugins import Program
from zigai_core.engine.given_embeddings import check_width
from zigai_core.engine.request import Request, Shift, drop_middle


def fitted_prompt(request: Request, program: Program, context: int) -> Sequence[int]:
    """Returns the prompt, shifted if it must and may be. Raises if the request can never be computed."""
    graph, prompt = program.graph, request.prompt
    if request.outputs is not None:
        graph.output(request.outputs)
    if request.generates:
        graph.output("logits")
        if graph.whole_sequences:
            raise UnsupportedError("this model is an encoder: it cannot generate text; ask for outputs")
    limit = graph.token_limit
    ids = np.asarray(prompt)
    if request.embeddings is not None:
        check_width(request.embeddings.shape[1], graph)
        ids = ids[ids != IN_PLACE]
    if ids.size and (ids.min() < 0 or ids.max() >= limit):
        wrong = ids[(ids < 0) | (ids >= limit)][0]
        stands = wrong == IN_PLACE and graph.input_width is not None and request.embeddings is None
        raise TokenizerError(
            f"token {wrong} is outside the model's vocabulary of {limit}"
            + ("; it stands for an embedding, and the request gives none" if stands else "")
        )
    if request.types is not None:
        types = np.asarray(request.types)
        if types.min() < 0 or types.max() >= graph.type_limit:
            wrong = types[(types < 0) | (types >= graph.type_limit)][0]
            known = f"types 0 to {graph.type_limit - 1}" if graph.type_limit > 1 else "type 0 alone"
            raise TokenizerError(f"a token has type {wrong}, but the model knows {known}")
    most = context - request.generates
    if len(prompt) > most and request.overflow == "shift":
        prompt = list(prompt)
        while len(prompt) > most:
            prompt = shifted(request.shift or drop_middle(1), prompt)
    if len(prompt) > most:
        if context == program.options.context:
            limit_of, remedy = "the context", "use a larger context"
        elif graph.whole_sequences:
            limit_of = "a step, which must hold all tokens of an encoder's sequence,"
            remedy = "compile the program with a larger batch"
        else:
            limit_of, remedy = "the budget", "use a larger budget"
        remedies = ["give a shorter prompt", remedy]
        if request.generates and most > 0:
            remedies.append("use the overflow policy shift")
        raise ContextOverflowError(
            f"{'no room for a reply' if request.generates else 'no room'}: the prompt has {len(prompt)} "
            f"tokens, and {limit_of} holds {context}; {', '.join(remedies[:-1])}, or {remedies[-1]}"
        )
    return prompt


def shifted(shift: Shift, tokens: list[int]) -> list[int]:
    """Returns `shift(tokens)`. Raises `ContextOverflowError` unless these are fewer, and at least one."""
    fewer = [int(token) for token in shift(tokens)]
    if not 0 < len(fewer) < len(tokens):
        raise ContextOverflowError(
            f"the context is full, and the request's shift returned {len(fewer)} of {len(tokens)} tokens: it "
            "must return fewer than it is given, and at least one"
        )
    return fewer
