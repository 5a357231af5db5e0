"""The candidates of a draw: the tokens that the steps have left, with their logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.graph import Array
from zigai_core.engine.sampling.row import BestOf, LogitsRow
from zigai_core.engine.sampling.selection import PART, largest_reaching, parts, places_of

MAX_RANKED = 4096
"""`first` ranks no more candidates than this; more are selected in linear time and not ranked."""


class TokenCandidates:
    """Implements `zigai_core.contracts.sampling.Candidates`.

    `ids` int32 and `logits` float32 `[candidates]`; `ids` None means 0, 1, 2, … `best` finds the k best of
    many logits. `ranked`: True if the order is by descending logit, otherwise it is by ascending id.
    """

    __slots__ = ("_best", "_greatest", "_ids", "_logits", "_ranked")

    def __init__(self, ids: NDArray[np.int32] | None, logits: Array, best: BestOf, *, ranked: bool) -> None:
        self._ids = ids
        self._logits = logits
        self._best = best
        self._ranked = ranked
        self._greatest: float | None = None

    @property
    def ids(self) -> NDArray[np.int32]:
        """Token ids `[candidates]`."""
        if self._ids is None:
            self._ids = np.arange(len(self), dtype=np.int32)
        return self._ids

    @property
    def logits(self) -> Array:
        """Logits `[candidates]`."""
        return self._logits

    @property
    def ranked(self) -> bool:
        """True if in order of descending logit."""
        return self._ranked

    def __len__(self) -> int:
        return len(self._logits)

    def weights(self, at: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Unnormalised probabilities of the candidates at these indices: e^(logit - the largest logit)."""
        return np.exp(self.logits[at].astype(np.float64) - self._max_logit())

    def probabilities(self) -> NDArray[np.float64]:
        """Probabilities `[candidates]`, which add up to 1."""
        probabilities = np.empty(len(self))
        for part in parts(len(self)):
            probabilities[part] = self.weights(part)
        probabilities /= probabilities.sum()
        return probabilities

    def first(self, count: int) -> TokenCandidates:
        """The `count` most likely candidates. Raises `SamplingError` for a count below 1."""
        if count < 1:
            raise SamplingError(f"at least 1 candidate must be kept, not {count}")
        logits = self.logits
        if self._ranked:
            if count >= len(logits):
                return self
            return TokenCandidates(self.ids[:count], logits[:count], self._best, ranked=True)
        if count > MAX_RANKED:
            if count >= len(logits):
                return self
            # With equal weights, `count - 0.5` weights select `count` candidates, however sums are rounded.
            share = (count - 0.5) / len(logits)
            return self._part(largest_reaching(logits, _equal_weights, share))
        places, logits, _ = self._best(logits, min(count, len(logits)), None, None)
        return TokenCandidates(
            places if self._ids is None else self._ids[places], logits, self._best, ranked=True
        )

    def keep(self, chosen: NDArray[np.bool_]) -> TokenCandidates:
        """The candidates that are True in `chosen`, bool `[candidates]`. Raises `SamplingError` otherwise."""
        if chosen.shape != (len(self),) or chosen.dtype != np.bool_:
            raise SamplingError(
                f"the selection from {len(self)} candidates must be bool [{len(self)}], "
                f"not {chosen.dtype} {chosen.shape}"
            )
        return self if chosen.all() else self._part(chosen)

    def with_logits(self, logits: Array) -> TokenCandidates:
        """The same tokens with other logits `[candidates]`, without those of -inf.

        Raises `SamplingError` for another shape, NaN or +inf.
        """
        if logits.shape != (len(self),):
            raise SamplingError(f"new logits of {len(self)} candidates have the shape {logits.shape}")
        new: Array = logits if logits.dtype == np.float32 else logits.astype(np.float32)
        changed = TokenCandidates(self._ids, new, self._best, ranked=self._ranked)
        finite = np.isfinite(new)
        if np.count_nonzero(finite) == len(finite):
            return changed
        if np.isnan(logits).any() or logits.max() == np.inf:
            raise SamplingError(
                f"the new logit of a candidate is {logits.max()}: it must be a number or -inf"
            )
        return changed._part(finite)

    def take(self, u: float) -> int:
        """The token drawn by `u` in [0, 1): the lowest id at which the cumulative probability exceeds `u`."""
        count = len(self)
        if count == 1:
            return int(self.ids[0])
        if count <= PART and self._ranked:  # the same as below, for a single part
            ids = self.ids
            by_id = ids.argsort()
            weights = self.weights(by_id)
            within = weights.cumsum()
            drawn = int(within.searchsorted(u * float(np.add.reduce(weights)), side="right"))
            if drawn == count:  # because of rounding; see below
                drawn = int(within.searchsorted(within[-1]))
            return int(ids[by_id[drawn]])
        order = np.argsort(self.ids) if self.ranked else None
        in_order = [part if order is None else order[part] for part in parts(len(self))]
        ends = np.cumsum([self.weights(part).sum() for part in in_order])
        target = u * float(ends[-1])
        at = min(int(np.searchsorted(ends, target, side="right")), len(ends) - 1)
        within = np.cumsum(self.weights(in_order[at]))
        target -= float(ends[at - 1]) if at else 0.0
        drawn = int(np.searchsorted(within, target, side="right"))
        # Because of rounding the index may be beyond the last token with a weight above 0.
        drawn = min(drawn, int(np.searchsorted(within, within[-1]))) + at * PART
        place = drawn if order is None else order[drawn]
        return int(place if self._ids is None else self._ids[place])

    def _max_logit(self) -> float:
        if self._greatest is None:
            self._greatest = float(self.logits[0] if self.ranked else self.logits.max())
        return self._greatest

    def _part(self, places: slice | NDArray[np.bool_]) -> TokenCandidates:
        return TokenCandidates(self._ids_at(places), self.logits[places], self._best, ranked=self.ranked)

    def _ids_at(self, places: slice | NDArray[np.bool_]) -> NDArray[np.int32]:
        if self._ids is None and isinstance(places, np.ndarray):
            return places_of(places)
        return self.ids[places]


def _equal_weights(at: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    return np.ones(at.stop - at.start if isinstance(at, slice) else len(at))


class RowCandidates(TokenCandidates):
    """All tokens of a row that are not ruled out. `first` copies the whole row only if it must.

    `where` describes in errors which steps edited the row.
    """

    __slots__ = ("_filled", "_row", "_where")

    def __init__(self, row: LogitsRow, best: BestOf, where: str) -> None:
        self._row = row
        self._where = where
        self._best = best
        self._ranked = False
        self._greatest = None
        self._ids = None
        self._filled = False

    @property
    def ids(self) -> NDArray[np.int32]:
        """Token ids `[candidates]`, ascending."""
        self._fill()
        return super().ids

    @property
    def logits(self) -> Array:
        """Logits `[candidates]`."""
        self._fill()
        return self._logits

    def __len__(self) -> int:
        self._fill()
        return len(self._logits)

    def first(self, count: int) -> TokenCandidates:
        """The `count` most likely candidates."""
        if self._filled or not 1 <= count <= MAX_RANKED:
            return super().first(count)
        ids, logits = self._row.best(min(count, self._row.vocabulary))
        if not len(ids):
            raise self._none_left()
        return TokenCandidates(ids, logits, self._best, ranked=True)

    def _fill(self) -> None:
        if self._filled:
            return
        self._logits = self._row.current()
        if self._row.edited:
            allowed = self._logits > -np.inf
            if not allowed.any():
                raise self._none_left()
            if not allowed.all():
                self._ids, self._logits = places_of(allowed), self._logits[allowed]
        self._filled = True

    def _none_left(self) -> SamplingError:
        return SamplingError(f"no token can be drawn: the logits {self._where} rule every token out")
