"""The tokens that are left to draw from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.graph import Array
from zigai_core.engine.sampling.row import BestOf, LogitsRow
from zigai_core.engine.sampling.selection import largest_reaching

RANKED_MOST = 4096
"""More are not put in order."""


class TokenCandidates:
    """See `zigai_core.contracts.sampling.Candidates`. `best` finds the likeliest of many."""

    def __init__(self, ids: NDArray[np.int32], logits: Array, best: BestOf, *, ranked: bool) -> None:
        self._ids = ids
        self._logits = logits
        self._best = best
        self._ranked = ranked
        self._weights: NDArray[np.float64] | None = None

    @property
    def ids(self) -> NDArray[np.int32]:
        """Their ids."""
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
        return len(self.ids)

    def weights(self) -> NDArray[np.float64]:
        """Their probabilities up to a factor: e^(logit - the largest)."""
        if self._weights is None:
            logits = self.logits.astype(np.float64)
            self._weights = np.exp(logits - (logits[0] if self.ranked else logits.max()))
        return self._weights

    def probabilities(self) -> NDArray[np.float64]:
        """Their probabilities."""
        weights = self.weights()
        probabilities: NDArray[np.float64] = weights / weights.sum()
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
            return self._part(largest_reaching(self.logits, np.ones(len(self)), count))
        places, logits, _ = self._best(self.logits, min(count, len(self)), None, None)
        found = TokenCandidates(self.ids[places], logits, self._best, ranked=True)
        if self._weights is not None:
            found._weights = self._weights[places]
        return found

    def keep(self, chosen: NDArray[np.bool_]) -> TokenCandidates:
        """Those that are chosen."""
        if chosen.shape != (len(self),) or chosen.dtype != np.bool_:
            raise SamplingError(
                f"what is kept of {len(self)} candidates must be bool, not {chosen.dtype} {chosen.shape}"
            )
        return self._part(chosen)

    def with_logits(self, logits: Array) -> TokenCandidates:
        """The same tokens with other logits; those of -inf are left out."""
        if logits.shape != (len(self),):
            raise SamplingError(f"{len(self)} candidates were given logits of shape {logits.shape}")
        found = TokenCandidates(
            self.ids, logits.astype(np.float32, copy=False), self._best, ranked=self.ranked
        )
        finite = np.isfinite(found.logits)
        if finite.all():
            return found
        if np.isnan(logits).any() or logits.max() == np.inf:
            raise SamplingError(f"a candidate was given a logit of {logits.max()}: it must be a number")
        return found._part(finite)

    def take(self, u: float) -> int:
        """The token of a draw `u` in [0, 1): the first id up to which the probabilities exceed it."""
        ids, weights = self.ids, self.weights()
        if len(ids) == 1:
            return int(ids[0])
        if self.ranked:
            order = np.argsort(ids)
            ids, weights = ids[order], weights[order]
        cumulative = np.cumsum(weights)
        drawn = np.searchsorted(cumulative, u * cumulative[-1], side="right")
        # The product may round up to the sum itself, which lies behind the last token that has a weight.
        return int(ids[min(drawn, np.searchsorted(cumulative, cumulative[-1]))])

    def _part(self, places: slice | NDArray[np.bool_]) -> TokenCandidates:
        return TokenCandidates(self.ids[places], self.logits[places], self._best, ranked=self.ranked)


class RowCandidates(TokenCandidates):
    """All tokens of a row that are not ruled out; `first` finds the best without a look at the others.

    `where` says in errors what the row has been through.
    """

    def __init__(self, row: LogitsRow, best: BestOf, where: str) -> None:
        self._row = row
        self._where = where
        self._best = best
        self._ranked = False
        self._weights = None
        self._filled = False

    @property
    def ids(self) -> NDArray[np.int32]:
        """Their ids, ascending."""
        self._fill()
        return self._ids

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
        logits = self._row.logits()
        left = logits > -np.inf
        if not left.any():
            raise self._none_left()
        if left.all():
            self._ids, self._logits = np.arange(len(logits), dtype=np.int32), logits
        else:
            self._ids, self._logits = np.flatnonzero(left).astype(np.int32), logits[left]
        self._filled = True

    def _none_left(self) -> SamplingError:
        return SamplingError(f"no token can be drawn: the logits {self._where} rule every token out")
