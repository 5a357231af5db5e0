"""What a caller asks of the engine, and what it is told: requests, pieces of a reply, counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from zigai_core.contracts.errors import SamplingError, TokenizerError, UnsupportedError, quote
from zigai_core.contracts.graph import Array
from zigai_core.engine.given_embeddings import check_embeddings
from zigai_core.engine.sampling import Sampler

FinishReason = Literal["end", "stop", "length", "context", "cancelled", "deadline"]
"""Why a reply ended: an end token, a stop string, `max_tokens`, a full context, `cancel` or `close`, or the
deadline."""

Overflow = Literal["stop", "error", "shift"]
"""What happens when a sequence fills the context: the reply ends with the reason `context`, its stream raises
`ContextOverflowError`, or `Request.shift` replaces the tokens."""

Shift = Callable[[Sequence[int]], Sequence[int]]
"""Returns the tokens to go on with, fewer than it is given; at least one."""

MOST_DRAFT_TOKENS = 8
"""Maximum number of draft tokens of a sequence in a step."""

DRAFT_PREFILL = 64
"""Maximum number of tokens of prompts that all draft models together compute in a step."""


class TextSink(Protocol):
    """Converts the tokens of a reply to text: `zigai_core.text.stream.TextStream`.

    `state` is immutable and holds all that `push` and `finish` change: the engine stores it after each token,
    and restores it after an interrupt in the middle of them.
    """

    state: Any

    @property
    def stopped(self) -> str | None:
        """The stop string that ended the text, or None."""
        ...

    def push(self, token: int) -> str:
        """Adds a token and returns the text that is now certain."""
        ...

    def finish(self) -> str:
        """Returns the text that is left, after the last token."""
        ...


class Drafter(Protocol):
    """Proposes draft tokens for one request. The engine's driver calls it between steps.

    A drafter with a model of its own has an executor and a sequence of that model; it runs the executor
    itself in `propose`, and must not use an engine. If it has a method `close()`, that is called when the
    request ends.
    """

    def propose(self, tokens: Sequence[int], count: int) -> Sequence[int]:
        """Returns at most `count` tokens that may follow `tokens`, the prompt and the reply so far."""
        ...


@runtime_checkable
class PrefillingDrafter(Protocol):
    """A drafter that computes the tokens itself before it can propose.

    The engine limits how many are computed in a step, by all drafters together, so that a long prompt delays
    no other request, deadline or cancellation. `propose` is called when at most `MOST_DRAFT_TOKENS` are
    missing.
    """

    def missing(self, tokens: Sequence[int]) -> int:
        """Returns how many of `tokens` before the last one are not computed; 0 if it cannot propose."""
        ...

    def prefill(self, tokens: Sequence[int], count: int) -> None:
        """Computes the next `count` of the missing tokens."""
        ...


@runtime_checkable
class ClosingDrafter(Protocol):
    """A drafter that owns resources."""

    def close(self) -> None:
        """Frees the resources; the request has ended."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt, and what is wanted for it: a reply, outputs of the graph for the prompt's tokens, or both.

    Raises `TokenizerError` for an empty prompt, `ShapeError` for embeddings that do not fit it,
    `SamplingError` and `UnsupportedError` for other invalid values.
    """

    prompt: Sequence[int]
    max_tokens: int | None = None
    """Maximum number of generated tokens; 0: none are generated; None: no limit but the context."""
    end_ids: frozenset[int] = frozenset()
    """Token ids that end the reply; they are not part of it."""
    sampler: Sampler | None = None
    """Draws the tokens; used by this request alone. None: nothing is generated."""
    outputs: str | None = None
    """Name of an output of the graph that is collected for tokens of the prompt (`Stream.outputs`)."""
    rows: Literal["last", "all"] = "last"
    """The tokens of the prompt whose outputs are collected."""
    types: Sequence[int] | None = None
    """The type of each token of the prompt (`Batch.types`); None: all are 0. A request with types generates
    nothing, and neither finds a prefix nor leaves one."""
    embeddings: Array | None = None
    """Rows in place of tokens, float32 `[n, width]`: the next one for each token -1 of the prompt. They are
    finite. A request with embeddings may generate; it neither finds a prefix nor leaves one, is not shifted
    or forked, and has no drafter. Its sampler sees the -1."""
    text: TextSink | None = None
    """Converts tokens to text; used by this request alone. None: pieces have no text."""
    drafter: Drafter | None = None
    """Proposes draft tokens; used by this request alone."""
    overflow: Overflow = "stop"
    shift: Shift | None = None
    """Replaces the tokens of a full sequence if `overflow` is `shift`; None: `drop_middle(1)`."""
    priority: int = 0
    """Requests of a higher priority are scheduled first, and preempted last."""
    deadline: float | None = None
    """The time (`time.monotonic()`) after which the reply ends with the reason `deadline`."""
    logprobs: int | None = None
    """Number of most likely tokens whose log-probabilities are reported for each generated token, besides the
    drawn one; None: no log-probabilities."""
    cache: bool = True
    """False: the request finds no prefix, and leaves none for others."""
    called: float = field(default_factory=time.perf_counter)
    """When the reply was asked for (`time.perf_counter()`); `Usage.time_to_first_token` counts from then."""
    once: list[bool] = field(default_factory=lambda: [False], init=False, repr=False)
    """Whether the request was submitted: it holds the state of one reply."""

    def __post_init__(self) -> None:
        if not len(self.prompt):
            raise TokenizerError("the prompt has no tokens: there is nothing to continue; give some text")
        kind = np.asarray(self.prompt).dtype.kind
        if kind not in "iu":
            raise TokenizerError("the prompt must be token ids, whole numbers; it holds something else")
        if self.types is not None:
            self._check_types(self.types)
        if self.embeddings is not None:
            check_embeddings(self.embeddings, self.prompt, self.overflow, drafted=self.drafter is not None)
            object.__setattr__(self, "cache", False)
        for name in ("max_tokens", "logprobs"):
            value = getattr(self, name)
            if value is not None and not _whole(value, 0):
                raise SamplingError(
                    f"{name} must be a whole number of at least 0, or None, not {quote(value)}"
                )
            object.__setattr__(self, name, None if value is None else int(value))
        if not _whole(self.priority):
            raise UnsupportedError(f"priority must be a whole number, not {quote(self.priority)}")
        object.__setattr__(self, "priority", int(self.priority))
        deadline: object = self.deadline
        if deadline is not None and (
            isinstance(deadline, bool) or not isinstance(deadline, Real) or not isfinite(deadline)
        ):
            raise UnsupportedError(
                f"deadline must be a finite time by time.monotonic(), or None, not {quote(deadline)}"
            )
        if self.sampler is not None and not isinstance(self.sampler, Sampler):
            raise UnsupportedError(f"sampler must be a Sampler or None, not {quote(self.sampler)}")
        if self.shift is not None and not callable(self.shift):
            raise UnsupportedError(f"shift must be a function or None, not {quote(self.shift)}")
        if self.rows not in ("last", "all"):
            raise UnsupportedError(f"rows must be last or all, not {quote(self.rows)}")
        if self.overflow not in ("stop", "error", "shift"):
            raise UnsupportedError(f"overflow must be stop, error or shift, not {quote(self.overflow)}")

    def _check_types(self, types: Sequence[int]) -> None:
        given = np.asarray(types)
        if given.ndim != 1 or given.dtype.kind not in "iu" or len(given) != len(self.prompt):
            raise TokenizerError(
                f"types must be a whole number for each of the prompt's {len(self.prompt)} tokens, not "
                f"{quote(types)}"
            )
        if self.sampler is not None:
            raise UnsupportedError(
                "a request with types generates nothing: ask for outputs, without a sampler"
            )
        if self.overflow == "shift":
            raise UnsupportedError("a prompt with types cannot be shifted: use another overflow policy")
        object.__setattr__(self, "cache", False)

    @property
    def generates(self) -> bool:
        """True if tokens are generated."""
        return self.sampler is not None and self.max_tokens != 0


def _whole(value: object, least: int | None = None) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return least is None or int(value) >= least


def drop_middle(keep: int = 1) -> Shift:
    """Returns a shift that keeps the first `keep` tokens and drops the older half of the others.

    >>> drop_middle(1)([1, 2, 3, 4, 5])
    [1, 4, 5]
    """

    def shift(tokens: Sequence[int]) -> Sequence[int]:
        first = min(keep, len(tokens) - 1)
        dropped = max(1, (len(tokens) - first) // 2)
        return [*tokens[:first], *tokens[first + dropped :]]

    return shift


class TokenLogprobs(NamedTuple):
    """Log-probabilities of the model for one token of the reply, before any step of sampling."""

    token: int
    logprob: float
    ids: tuple[int, ...]
    """The most likely tokens, in descending order."""
    logprobs: tuple[float, ...]
    """Their log-probabilities."""


class Piece(NamedTuple):
    """A part of a reply: at most one token, and the text that became certain with it, if any."""

    tokens: tuple[int, ...]
    text: str = ""
    logprobs: tuple[TokenLogprobs, ...] = ()
    """One entry for each token, if the request asked for them."""


@dataclass
class Usage:
    """Counts of one request in tokens, times in seconds."""

    prompt_tokens: int = 0
    """Tokens of the prompt; dropped ones not included."""
    cached_tokens: int = 0
    """Tokens of the prompt that were found by prefix and not computed."""
    computed_tokens: int = 0
    """Tokens of the prompt that were computed so far; with `cached_tokens` all of them, after the prefill."""
    generated_tokens: int = 0
    draft_proposed: int = 0
    """Draft tokens that were computed."""
    draft_accepted: int = 0
    """Draft tokens that were drawn."""
    dropped_tokens: int = 0
    """Tokens that shifts have removed."""
    preemptions: int = 0
    """How many times the request gave up its pages and was computed again."""
    prefill_seconds: float = 0.0
    """From the start of the prompt's first step to the first token."""
    decode_seconds: float = 0.0
    """From the first token to the last."""
    time_to_first_token: float = 0.0
    """From `Request.called` to the first token."""

    def note_prefill(self, computed: int) -> bool:
        """Updates `computed_tokens`: the sequence has `computed` tokens. True if the prefill is complete."""
        new = min(computed, self.prompt_tokens) - self.cached_tokens
        self.computed_tokens = max(self.computed_tokens, new)
        return computed >= self.prompt_tokens

    @property
    def prefill_tps(self) -> float:
        """Prompt tokens computed per second."""
        return _rate(self.computed_tokens, self.prefill_seconds)

    @property
    def decode_tps(self) -> float:
        """Tokens generated per second; the first one comes out of the prefill and is not counted."""
        return _rate(self.generated_tokens - 1, self.decode_seconds)


def _rate(tokens: int, seconds: float) -> float:
    return max(tokens, 0) / seconds if seconds > 0 else 0.0


@dataclass(frozen=True)
class Budget:
    """How much an engine holds. Memory is used as it is written.

    Of `tokens` and `bytes`, the smaller limit counts; without either, the engine chooses.
    """

    tokens: int | None = None
    """Tokens in all sequences together."""
    bytes: int | None = None
    """Bytes of all pages and slots together. Without `tokens`, no more are used than `sequences` contexts
    take."""
    sequences: int = 64
    """Maximum number of sequences that are computed at the same time."""
    checkpoint_bytes: int = 256 << 20
    """Bytes of recurrent states that are kept so that later requests find them by prefix."""

    def __post_init__(self) -> None:
        for name, least in (("tokens", 1), ("bytes", 1), ("sequences", 1), ("checkpoint_bytes", 0)):
            value = getattr(self, name)
            optional = name in ("tokens", "bytes")
            if not (_whole(value, least) or (optional and value is None)):
                raise UnsupportedError(
                    f"the budget's {name} must be a whole number of at least {least}"
                    f"{', or None' * optional}, not {quote(value)}"
                )


@dataclass(frozen=True)
class GroupStats:
    """Pages, or slots, of one group of states."""

    total: int
    free: int
    known: int
    """Not in use, but their content can be found by prefix."""
    used: int


@dataclass(frozen=True)
class EngineStats:
    """Counts since the engine was made, and its present state."""

    waiting: int = 0
    """Requests that are not being computed yet, or were preempted."""
    running: int = 0
    """Requests that hold pages."""
    groups: tuple[GroupStats, ...] = ()
    """Pages and slots by group."""
    submitted: int = 0
    finished: Mapping[str, int] = field(default_factory=dict)
    """Ended requests by finish reason; `error` for those whose stream raises."""
    steps: int = 0
    failed_steps: int = 0
    """Steps that raised or were stopped."""
    computed_tokens: int = 0
    """Rows of all steps, draft tokens included."""
    cached_tokens: int = 0
    """Tokens found by prefix, those of preempted requests included."""
    generated_tokens: int = 0
    preemptions: int = 0
    draft_proposed: int = 0
    draft_accepted: int = 0
    step_seconds: float = 0.0
    """Time in steps, scheduling and sampling included."""
    run_seconds: float = 0.0
    """Time in the executor."""
