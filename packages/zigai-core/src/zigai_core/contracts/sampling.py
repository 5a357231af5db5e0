"""Steps of the sampling chain: what a plugin registers under `zigai.samplers`.

Sampling has two stages. A `RowStep` edits the whole row of logits: biases, penalties, masks. A
`CandidateStep` narrows or rescales what is left of it. A factory makes a step from the options:

>>> class OnlyEven:
...     def edit(self, row):
...         row.keep(np.arange(row.vocabulary) % 2 == 0)
>>> def only_even(options):                     # entry point: only_even = "package:only_even"
...     return OnlyEven()

`SamplingOptions.steps` names the steps to take, row steps first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions

Draw = Callable[[], float]
"""A step's next random number in [0, 1): by the seed, the index in the reply and the step's name."""


class Row(Protocol):
    """The logits of one row, under edit. Where few tokens change, `write` costs no pass over the row."""

    vocabulary: int
    """How many logits there are: one for each token."""
    history: Sequence[int]
    """All tokens so far, the prompt's included."""

    def read(self, ids: ArrayLike) -> NDArray[np.float64]:
        """The logits of these tokens; -inf for those that are ruled out."""
        ...

    def write(self, ids: ArrayLike, logits: ArrayLike) -> None:
        """Set the logits of these tokens, each at most once. -inf rules a token out, and that is final; other
        values are brought within float32. `SamplingError` for NaN, +inf or a token that there is not."""
        ...

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Rule out all tokens but these: `[vocabulary]`."""
        ...

    def allow(self, mask: NDArray[np.uint32]) -> None:
        """As `keep`, by a bitset: bit t % 32 of word t // 32 says whether token t stays."""
        ...

    def replace(self, logits: Array) -> None:
        """Put a whole row `[vocabulary]` in the place of what is there. What was ruled out stays so, and -inf
        rules out; other values are brought within float32. `SamplingError` for NaN or another shape."""
        ...

    def logits(self) -> Array:
        """All logits as they stand, float32 `[vocabulary]`: a copy; -inf for those that are ruled out."""
        ...


class Candidates(Protocol):
    """The tokens that are left, at least one. Never changed in place: each method gives new ones."""

    @property
    def ids(self) -> NDArray[np.int32]:
        """Their ids `[candidates]`, by descending logit or by ascending id; see `ranked`."""
        ...

    @property
    def logits(self) -> Array:
        """Their logits `[candidates]`, in the order of `ids`; none is infinite."""
        ...

    @property
    def ranked(self) -> bool:
        """Whether they are in order of descending logits (of equals, the lowest id first)."""
        ...

    def __len__(self) -> int: ...

    def weights(self, at: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """The probabilities of those at these places, up to one factor."""
        ...

    def probabilities(self) -> NDArray[np.float64]:
        """Their probabilities, which add up to 1, in the order of `ids`."""
        ...

    def first(self, count: int) -> Candidates:
        """The `count` likeliest, or all if there are fewer. Ranked unless `count` is in the thousands."""
        ...

    def keep(self, chosen: NDArray[np.bool_]) -> Candidates:
        """Those that are chosen, in the order of `ids`."""
        ...

    def with_logits(self, logits: Array) -> Candidates:
        """The same tokens with other logits, in the order of `ids`, that rank them as before."""
        ...


@runtime_checkable
class RowStep(Protocol):
    """A step of the first stage."""

    def edit(self, row: Row) -> None:
        """Change the row in place."""
        ...


@runtime_checkable
class CandidateStep(Protocol):
    """A step of the second stage."""

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """The candidates that are left after it, at least one."""
        ...


@runtime_checkable
class StatefulStep(Protocol):
    """A step of either stage that learns from the tokens of the reply (mirostat, say).

    `state` is immutable: the sampler keeps it for each token and puts it back when tokens are taken back. A
    fork of the sampler has a `copy.copy` of the step.
    """

    state: object

    def accept(self, token: int) -> None:
        """The token that was taken, after the step's latest call."""
        ...


SamplerFactory = Callable[[SamplingOptions], "RowStep | CandidateStep | None"]
"""Makes a step from the options; None where these options switch it off."""
