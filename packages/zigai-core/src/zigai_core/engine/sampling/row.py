"""An editable row of logits: the model's row, sparse edits and a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zigai_core.contracts.best import Best, Edits, bits, bitset
from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.graph import Array

BestOf = Callable[[Array, int, "Edits | None", "NDArray[np.uint32] | None"], Best]
"""Type of `zigai_core.contracts.best.best` and of a program's own implementation."""

RowBest = Callable[[int, "Edits | None", "NDArray[np.uint32] | None"], Best]
"""The same for one certain row, such as `Outputs.best`."""

MOST = float(np.finfo(np.float32).max)


class LogitsRow:
    """Implements `zigai_core.contracts.sampling.Row`. `own` is the model's row, float32 `[vocabulary]`.

    `own` is never written to. `best` finds the k best of a row under edits and a mask;
    `of_own`, if given, those of `own`.
    """

    def __init__(
        self, own: Array, history: Sequence[int], best: BestOf, of_own: RowBest | None = None
    ) -> None:
        self.vocabulary = len(own)
        self.history = history
        self._own = own
        self._best = best
        self._of_own = of_own
        self._edits: dict[int, float] = {}
        self._mask: NDArray[np.uint32] | None = None

    def read(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Logits of these tokens, float64; -inf for tokens that are ruled out."""
        places = self._places(ids)
        logits = self._own[places].astype(np.float64)
        if not np.isfinite(logits).all():
            self.check()
        for i, token in enumerate(places.tolist() if self._edits else ()):
            logits[i] = self._edits.get(token, logits[i])
        if self._mask is not None:
            logits[self._mask[places >> 5] >> (places & 31).astype(np.uint32) & 1 == 0] = -np.inf
        return logits

    def write(self, ids: ArrayLike, logits: ArrayLike) -> None:
        """Set the logits of these tokens; -inf rules one out. Raises `SamplingError` for NaN and +inf."""
        places = self._places(ids).tolist()
        given = np.asarray(logits, np.float64)
        values = (given if given.shape == (len(places),) else np.broadcast_to(given, len(places))).tolist()
        for value in values:
            if not value < math.inf:
                raise SamplingError(f"a step wrote a logit of {value}: it must be a number or -inf")
        # A token that is ruled out stays so: the result must not depend on the order of two steps.
        edits = self._edits
        for token, value in zip(places, values, strict=True):
            if edits.get(token) != -math.inf:
                edits[token] = value if value == -math.inf else min(max(value, -MOST), MOST)

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Rule out all tokens that are False in `chosen`, bool `[vocabulary]`."""
        if chosen.shape != (self.vocabulary,) or chosen.dtype != np.bool_:
            raise SamplingError(
                f"the selection from a row must be bool [{self.vocabulary}], "
                f"not {chosen.dtype} {chosen.shape}"
            )
        self.allow(bitset(chosen))

    def allow(self, mask: NDArray[np.uint32]) -> None:
        """Rule out all tokens whose bit is not set: bit t % 32 of word t // 32, uint32."""
        words = -(-self.vocabulary // 32)
        if mask.ndim != 1 or mask.dtype != np.uint32 or len(mask) < words:
            raise SamplingError(
                f"the mask of {self.vocabulary} tokens must be uint32 [{words}], "
                f"not {mask.dtype} {mask.shape}"
            )
        mask = mask[:words]
        self._mask = mask.copy() if self._mask is None else self._mask & mask

    def logits(self) -> Array:
        """A copy of all current logits, float32 `[vocabulary]`; -inf for tokens that are ruled out."""
        current = self.current()
        return current if self.edited else current.copy()

    @property
    def edited(self) -> bool:
        """True if a logit was written or a token ruled out."""
        return bool(self._edits) or self._mask is not None

    def current(self) -> Array:
        """As `logits`, but for reading only: a read-only view of the model's row if nothing was edited."""
        self.check()
        if not self.edited:
            own: Array = self._own.view()
            own.flags.writeable = False
            return own
        logits: Array = self._own.copy()
        if self._edits:
            ids, values = self._sparse()
            logits[ids] = values
        if self._mask is not None:
            logits[~bits(self._mask, self.vocabulary)] = -np.inf
        return logits

    def replace(self, logits: Array) -> None:
        """Replace the whole row `[vocabulary]`; -inf rules a token out. Those ruled out before stay so."""
        if getattr(logits, "shape", None) != (self.vocabulary,) or np.isnan(logits).any():
            raise SamplingError(f"a row must be replaced by {self.vocabulary} logits, none of them NaN")
        self.check()
        self.keep(logits > -np.inf)
        self._of_own = None
        self._own = np.clip(logits, -MOST, MOST).astype(np.float32)
        ruled_out = [token for token, logit in self._edits.items() if logit == -np.inf]
        self._edits = dict.fromkeys(ruled_out, -np.inf)

    def best(self, k: int) -> tuple[NDArray[np.int32], Array]:
        """Ids and logits of the k best, largest first; fewer if fewer tokens are not ruled out."""
        edits = self._sparse() if self._edits else None
        if self._of_own is not None:
            found = self._of_own(k, edits, self._mask)
        else:
            found = self._best(self._own, k, edits, self._mask)
        if found.damaged is not None:
            raise self._damage(found.damaged)
        return found.ids, found.logits

    def check(self) -> None:
        """Raise `SamplingError` if a logit of the model is not finite: the others cannot be trusted then."""
        finite = np.isfinite(self._own)
        if not finite.all():
            raise self._damage(int(np.argmin(finite)))

    def _damage(self, token: int) -> SamplingError:
        return SamplingError(
            f"the model's logit of token {token} is {self._own[token]}: its weights are damaged, or its "
            "numbers overflow; no token can be drawn"
        )

    def _sparse(self) -> Edits:
        ids = sorted(self._edits)
        return Edits(np.array(ids, np.int32), np.array([self._edits[token] for token in ids], np.float32))

    def _places(self, ids: ArrayLike) -> NDArray[np.int64]:
        places = np.asarray(ids, np.int64).reshape(-1)
        if len(places) and int(places.view(np.uint64).max()) >= self.vocabulary:  # so are negative ones
            wrong = places[(places < 0) | (places >= self.vocabulary)][0]
            raise SamplingError(f"token {wrong} is not in the vocabulary of {self.vocabulary} tokens")
        return places
