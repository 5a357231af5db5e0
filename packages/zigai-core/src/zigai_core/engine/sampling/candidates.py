"""The tokens that are left to draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.graph import Array
from zigai_core.engine.sampling.row import BestOf, LogitsRow
from zigai_core.engine.sampling.selection import PART, largest_reaching, parts, places_of

RANKED_MOST = 4096
"""More are not put in order."""


class TokenCandidates:
    """See `zigai_core.contracts.sampling.Candidates`. `best` finds the likeliest of many.

    Without `ids` they are all from 0 on.
    """

    def __init__(self, ids: NDArray[np.int32] | None, logits: Array, best: BestOf, *, ranked: bool) -> None:
        self._ids = ids
        self._logits = logits
        self._best = best
        self._ranked = ranked
        self._greatest: float | None = None

    @property
    def ids(self) -> NDArray[np.int32]:
        """Their ids."""
        if self._ids is None:
            self._ids = np.arange(len(self), dtype=np.int32)
        return self._ids

    @property
    def logits(self) -> Array:
        """Their logits."""
        return self._logits

    @property
    def ranked(self) -> bool:
        """Whether the likeliest stand first."""
        return self._ranked

    def __len__(self) -> int:
        return len(self.logits)

    def weights(self, at: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """The probabilities of those at these places, up to a factor: e^(logit - the largest)."""
        return np.exp(self.logits[at].astype(np.float64) - self._most())

    def probabilities(self) -> NDArray[np.float64]:
        """Their probabilities."""
        probabilities = np.empty(len(self))
        for part in parts(len(self)):
            probabilities[part] = self.weights(part)
        probabilities /= probabilities.sum()
        return probabilities

    def first(self, count: int) -> TokenCandidates:
        """The `count` likeliest."""
        if count < 1:
            raise SamplingError(f"of the candidates at least 1 must be kept, not {count}")
        if self.ranked:
            return self if count >= len(self) else self._part(slice(0, count))
        if count > RANKED_MOST:
            if count >= len(self):
                return self
            # Of equal weights the share is reached with the first half of the last one, whatever is rounded.
            share = (count - 0.5) / len(self)
            return self._part(largest_reaching(self.logits, _alike, share))
        places, logits, _ = self._best(self.logits, min(count, len(self)), None, None)
        return TokenCandidates(
            places if self._ids is None else self._ids[places], logits, self._best, ranked=True
        )

    def keep(self, chosen: NDArray[np.bool_]) -> TokenCandidates:
        """Those that are chosen."""
        if chosen.shape != (len(self),) or chosen.dtype != np.bool_:
            raise SamplingError(
                f"what is kept of {len(self)} candidates must be bool, not {chosen.dtype} {chosen.shape}"
            )
        return self if chosen.all() else self._part(chosen)

    def with_logits(self, logits: Array) -> TokenCandidates:
        """The same tokens with other logits; those of -inf are left out."""
        if logits.shape != (len(self),):
            raise SamplingError(f"{len(self)} candidates were given logits of shape {logits.shape}")
        found = TokenCandidates(
            self._ids, logits.astype(np.float32, copy=False), self._best, ranked=self.ranked
        )
        finite = np.isfinite(found.logits)
        if finite.all():
            return found
        if np.isnan(logits).any() or logits.max() == np.inf:
            raise SamplingError(f"a candidate was given a logit of {logits.max()}: it must be a number")
        return found._part(finite)

    def take(self, u: float) -> int:
        """The token of a draw `u` in [0, 1): the first id up to which the probabilities exceed it."""
        if len(self) == 1:
            return int(self.ids[0])
        order = np.argsort(self.ids) if self.ranked else None
        by_id = [part if order is None else order[part] for part in parts(len(self))]
        ends = np.cumsum([self.weights(part).sum() for part in by_id])
        wanted = u * float(ends[-1])
        at = min(int(np.searchsorted(ends, wanted, side="right")), len(ends) - 1)
        within = np.cumsum(self.weights(by_id[at]))
        wanted -= float(ends[at - 1]) if at else 0.0
        drawn = int(np.searchsorted(within, wanted, side="right"))
        # Rounding may lead behind the last token that has a weight.
        drawn = min(drawn, int(np.searchsorted(within, within[-1]))) + at * PART
        place = drawn if order is None else order[drawn]
        return int(place if self._ids is None else self._ids[place])

    def _most(self) -> float:
        if self._greatest is None:
            self._greatest = float(self.logits[0] if self.ranked else self.logits.max())
        return self._greatest

    def _part(self, places: slice | NDArray[np.bool_]) -> TokenCandidates:
        return TokenCandidates(self._ids_at(places), self.logits[places], self._best, ranked=self.ranked)

    def _ids_at(self, places: slice | NDArray[np.bool_]) -> NDArray[np.int32]:
        if self._ids is None and isinstance(places, np.ndarray):
            return places_of(places)
        return self.ids[places]


def _alike(at: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    return np.ones(at.stop - at.start if isinstance(at, slice) else len(at))


class RowCandidates(TokenCandidates):
    """All tokens of a row that are not ruled out; `first` finds the best without a look at the others.

    `where` says in errors what the row has been through.
    """

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
        """Their ids, ascending."""
        self._fill()
        return super().ids

    @property
    def logits(self) -> Array:
        """Their logits."""
        self._fill()
        return self._logits

    def first(self, count: int) -> TokenCandidates:
        """The `count` likeliest."""
        if self._filled or not 1 <= count <= RANKED_MOST:
            return super().first(count)
        ids, logits = self._row.best(min(count, self._row.vocabulary))
        if not len(ids):
            raise self._none_left()
        return TokenCandidates(ids, logits, self._best, ranked=True)

    def _fill(self) -> None:
        if self._filled:
            return
        self._logits = self._row.standing()
        if self._row.edited:
            left = self._logits > -np.inf
            if not left.any():
                raise self._none_left()
            if not left.all():
                self._ids, self._logits = places_of(left), self._logits[left]
        self._filled = True

    def _none_left(self) -> SamplingError:
        return SamplingError(f"no token can be drawn: the logits {self._where} rule every token out")
