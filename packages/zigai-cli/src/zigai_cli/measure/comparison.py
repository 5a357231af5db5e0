"""Differences between two computations of a graph: of each value, and of the next token's distributions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.graph import Array
from zigai_core.testing.divergence import Mean, kl_divergence, perplexity, surprise_of

Numbers = NDArray[np.float64]


@dataclass
class Difference:
    """How far a value of B is from that of A, over all tokens so far."""

    name: str
    width: int
    largest: float = 0.0
    """Largest absolute difference of two numbers; NaN if a number is NaN on one side only."""
    square: float = 0.0
    square_of_a: float = 0.0

    @property
    def relative(self) -> float:
        """Euclidean length of the difference, divided by that of A's value; infinite if A's is all zeros."""
        if self.square == 0:
            return 0.0
        return math.sqrt(self.square / self.square_of_a) if self.square_of_a else math.inf

    def add(self, a: Array, b: Array) -> None:
        """Take more rows into account. Numbers that are NaN on both sides do not differ."""
        x, y = a.astype(np.float64), b.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.where(same, 0.0, y - x)
            self.largest = float(np.maximum(self.largest, np.abs(gap).max(initial=0.0)))
            self.square += float(np.square(gap).sum())
            self.square_of_a += float(np.square(np.where(np.isfinite(x), x, 0.0)).sum())

    def beyond(self, tolerance: float) -> bool:
        """True if the relative difference is more than the tolerance, or not a number."""
        return not self.relative <= tolerance


class Comparison:
    """Two computations of the same tokens. Iterating takes a step of each and yields the rows done so far.

    `a` and `b` yield the values of the same rows, by name; those in `widths` are compared. `logits` names the
    value that gives the next token; None if there is none.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        widths: Mapping[str, int],
        a: Iterable[Mapping[str, Array]],
        b: Iterable[Mapping[str, Array]],
        *,
        logits: str | None,
    ) -> None:
        self.differences = [Difference(name, width) for name, width in widths.items()]
        self._tokens = tokens
        self._a, self._b = a, b
        self._logits = logits if logits in widths else None
        self._kl: list[Numbers] = []
        self._same: list[NDArray[np.bool_]] = []
        self._nats: tuple[list[Numbers], list[Numbers]] = ([], [])

    def __iter__(self) -> Iterator[int]:
        done = 0
        for a, b in zip(self._a, self._b, strict=True):
            for difference in self.differences:
                difference.add(a[difference.name], b[difference.name])
            if self._logits is not None:
                self._add_logits(done, a[self._logits], b[self._logits])
            done += len(next(iter(a.values())))
            yield done

    def first_beyond(self, tolerance: float) -> Difference | None:
        """The first value, in the order of computation, that differs by more than the tolerance."""
        return next((value for value in self.differences if value.beyond(tolerance)), None)

    @property
    def kl(self) -> Numbers:
        """KL(A ‖ B) of the next token after each token, in nats; empty without logits."""
        return np.concatenate(self._kl) if self._kl else np.empty(0)

    def logits(self) -> dict[str, Any] | None:
        """Figures of the next-token distributions; None without logits, or if they are not finite."""
        kl = self.kl
        if not len(kl):
            return None
        place = int(np.argmax(kl)) if np.isfinite(kl).all() else int(np.argmin(np.isfinite(kl)))
        same = np.concatenate(self._same)
        figures: dict[str, Any] = {
            "kl_mean": float(kl.mean()),
            "kl_max": float(kl[place]),
            "kl_max_at": place,
            "top1": float(same.mean()),
            "tokens": len(kl),
        }
        if len(kl) >= 2:
            figures["kl_error"] = Mean.of(kl).error
        nats = [np.concatenate(parts) if parts else np.empty(0) for parts in self._nats]
        if len(nats[0]) >= 2:
            figures["perplexity_a"] = perplexity(nats[0]).value
            figures["perplexity_b"] = perplexity(nats[1]).value
        return figures

    def _add_logits(self, first: int, a: Array, b: Array) -> None:
        with np.errstate(all="ignore"):  # damaged weights may give infinities and NaN
            self._kl.append(kl_divergence(a, b))
            self._same.append(a.argmax(axis=-1) == b.argmax(axis=-1))
            targets = self._tokens[first + 1 : first + 1 + len(a)]
            for rows, nats in zip((a, b), self._nats, strict=True):
                nats.append(surprise_of(rows, targets))
