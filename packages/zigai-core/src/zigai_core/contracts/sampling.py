"""Steps of the sampling chain, which plugins register under the entry point `zigai.samplers`.

Sampling has two stages. A `RowStep` edits the whole row of logits: biases, penalties, masks. A
`CandidateStep` reduces or rescales the remaining candidates. A factory makes a step from the options:

>>> class OnlyEven:
...     def edit(self, row):
...         row.keep(np.arange(row.vocabulary) % 2 == 0)
>>> def only_even(options):                     # entry point: only_even = "package:only_even"
...     return OnlyEven()

`SamplingOptions.steps` lists the steps that run, row steps first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions

Draw = Callable[[], float]
"""Returns a step's next random number in [0, 1), from the seed, the index in the reply and the step."""


class Row(Protocol):
    """The logits of one row, for editing.

    The cost of `read` and `write` grows with the tokens they are given, not with the vocabulary.
    """

    vocabulary: int
    """Number of logits: one for each token."""
    history: Sequence[int]
    """All tokens so far, prompt included; -1 where an embedding stands in place of a token."""

    def read(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Returns the logits of these tokens; -inf for excluded ones."""
        ...

    def write(self, ids: ArrayLike, logits: ArrayLike) -> None:
        """Sets the logits of these tokens, without duplicates.

        -inf excludes a token for good; other values are limited to the range of float32. Raises
        `SamplingError` for NaN, +inf or an id outside the vocabulary.
        """
        ...

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Excludes all tokens that are not `chosen`, `[vocabulary]`."""
        ...

    def allow(self, mask: NDArray[np.uint32]) -> None:
        """Same as `keep`, with a bitset: token t is kept if bit t % 32 of word t // 32 is set."""
        ...

    def replace(self, logits: Array) -> None:
        """Replaces all logits, `[vocabulary]`.

        Excluded tokens stay excluded, and -inf excludes more; other values are limited to the range of
        float32. Raises `SamplingError` for NaN or another shape.
        """
        ...

    def logits(self) -> Array:
        """Returns a copy of all logits, float32 `[vocabulary]`; -inf for excluded tokens."""
        ...


class Candidates(Protocol):
    """The remaining tokens, at least one. Immutable: methods return new candidates."""

    @property
    def ids(self) -> NDArray[np.int32]:
        """Token ids `[candidates]`, by descending logit or by ascending id; see `ranked`."""
        ...

    @property
    def logits(self) -> Array:
        """Logits `[candidates]`, in the order of `ids`; all finite."""
        ...

    @property
    def ranked(self) -> bool:
        """True if candidates are in order of descending logits, and equal ones in order of ascending id."""
        ...

    def __len__(self) -> int: ...

    def weights(self, at: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Returns unnormalised probabilities of the candidates at these indices, on a common scale."""
        ...

    def probabilities(self) -> NDArray[np.float64]:
        """Returns the probabilities `[candidates]`, in the order of `ids`; their sum is 1."""
        ...

    def first(self, count: int) -> Candidates:
        """Returns the `count` most likely, or all if fewer. Ranked unless `count` is in the thousands."""
        ...

    def keep(self, chosen: NDArray[np.bool_]) -> Candidates:
        """Returns those that are `chosen`, `[candidates]`, in the order of `ids`."""
        ...

    def with_logits(self, logits: Array) -> Candidates:
        """Returns the tokens with other logits, in the order of `ids`; -inf removes a token.

        The ranking of the tokens must stay the same.
        """
        ...


@runtime_checkable
class RowStep(Protocol):
    """A step of the first stage."""

    def edit(self, row: Row) -> None:
        """Changes the row in place."""
        ...


@runtime_checkable
class CandidateStep(Protocol):
    """A step of the second stage."""

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Returns the candidates that remain, at least one."""
        ...


@runtime_checkable
class StatefulStep(Protocol):
    """A step of either stage whose state depends on the tokens of the reply, such as mirostat.

    `state` is immutable: the sampler stores it after each token and restores it on a rollback. A fork of the
    sampler has a `copy.copy` of the step.
    """

    state: object

    def accept(self, token: int) -> None:
        """Updates `state` with the token that was drawn after the step's last call."""
        ...


SamplerFactory = Callable[[SamplingOptions], "RowStep | CandidateStep | None"]
"""Makes a step from the options; None if the options turn it off."""
