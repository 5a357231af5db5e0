"""The logits of one row under edit: the model's own, sparse edits and a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zigai_core.contracts.best import Best, Edits, bits, bitset
from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.graph import Array

BestOf = Callable[[Array, int, "Edits | None", "NDArray[np.uint32] | None"], Best]
"""`zigai_core.contracts.best.best`, or a program's."""

MOST = float(np.finfo(np.float32).max)


class LogitsRow:
    """See `zigai_core.contracts.sampling.Row`. `own` is the model's row, one logit for each token."""

    def __init__(self, own: Array, history: Sequence[int], best: BestOf) -> None:
        self.vocabulary = len(own)
        self.history = history
        self._own = own
        self._best = best
        self._edits: dict[int, float] = {}
        self._mask: NDArray[np.uint32] | None = None

    def read(self, ids: ArrayLike) -> NDArray[np.float64]:
        """The logits of these tokens."""
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
        """Set the logits of these tokens."""
        places = self._places(ids)
        values = np.broadcast_to(np.asarray(logits, np.float64), places.shape)
        if np.isnan(values).any() or (values == np.inf).any():
            raise SamplingError(f"a logit of {values.max()} was written: it must be a number, or -inf")
        # What is ruled out stays so: the best of a row must not depend on the order of two steps.
        values = np.where(values == -np.inf, values, np.clip(values, -MOST, MOST))
        for token, value in zip(places.tolist(), values.tolist(), strict=True):
            if self._edits.get(token) != -np.inf:
                self._edits[token] = value

    def keep(self, chosen: NDArray[np.bool_]) -> None:
        """Rule out all other tokens."""
        if chosen.shape != (self.vocabulary,) or chosen.dtype != np.bool_:
            raise SamplingError(
                f"what is kept of a row must be bool [{self.vocabulary}], not {chosen.dtype} {chosen.shape}"
            )
        self.allow(bitset(chosen))

    def allow(self, mask: NDArray[np.uint32]) -> None:
        """Rule out the tokens whose bit is not set."""
        words = -(-self.vocabulary // 32)
        if mask.ndim != 1 or mask.dtype != np.uint32 or len(mask) < words:
            raise SamplingError(
                f"the mask of {self.vocabulary} tokens must be uint32 [{words}], "
                f"not {mask.dtype} {mask.shape}"
            )
        mask = mask[:words]
        self._mask = mask.copy() if self._mask is None else self._mask & mask

    def logits(self) -> Array:
        """All logits as they stand."""
        standing = self.standing()
        return standing if self.edited else standing.copy()

    @property
    def edited(self) -> bool:
        """Whether anything was written or ruled out."""
        return bool(self._edits) or self._mask is not None

    def standing(self) -> Array:
        """As `logits`, but not to be written to: the model's own where nothing was edited."""
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
        """Put a whole row in the place of what is there."""
        if getattr(logits, "shape", None) != (self.vocabulary,) or np.isnan(logits).any():
            raise SamplingError(f"a row must be replaced by {self.vocabulary} logits, none of them NaN")
        self.check()
        self.keep(logits > -np.inf)
        self._own = np.clip(logits, -MOST, MOST).astype(np.float32)
        ruled_out = [token for token, logit in self._edits.items() if logit == -np.inf]
        self._edits = dict.fromkeys(ruled_out, -np.inf)

    def best(self, k: int) -> tuple[NDArray[np.int32], Array]:
        """Ids and logits of the k best, largest first; fewer where fewer are left."""
        found = self._best(self._own, k, self._sparse() if self._edits else None, self._mask)
        if found.damaged is not None:
            raise self._damage(found.damaged)
        return found.ids, found.logits

    def check(self) -> None:
        """`SamplingError` where one of the model's own logits is not finite: then no other can be trusted."""
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
        outside = (places < 0) | (places >= self.vocabulary)
        if outside.any():
            raise SamplingError(
                f"token {places[outside][0]} is not in the vocabulary of {self.vocabulary} tokens"
            )
        return places
