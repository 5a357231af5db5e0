"""Several streams side by side in a row: mixed by shares of the row's own, and made equally large.

Alternating updates (AltUp) carry such streams from layer to layer (Baykal et al., 2023, arXiv:2301.13310).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value


@dataclass(frozen=True, eq=False)
class MixStreams(Operation):
    """Sums of a row's streams, with shares of the row's own.

    `x` is `streams` streams of width w, `[rows, streams · w]`; `shares` is `[rows, m · streams]`, and the
    output `[rows, m · w]`: its stream i is the sum over j of `(shares[i · streams + j] + offset) · x_j`.
    """

    x: Value
    shares: Value
    streams: int
    offset: float = 0.0

    @property
    def width(self) -> int:
        """The elements of a stream, if `fault` finds none."""
        return self.x.width // self.streams

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        if type(self.streams) is not int or self.streams < 1 or self.x.width % self.streams:
            return f"a row of {self.x.width} elements is not {self.streams!r} streams"
        if not math.isfinite(self.offset):
            return f"its offset is {self.offset}"
        if self.output.width % self.width or self.shares.width % self.streams:
            return f"{self.shares.width} shares do not give whole streams of {self.width} from {self.streams}"
        if self.output.width // self.width != self.shares.width // self.streams:
            return f"{self.shares.width} shares of {self.streams} streams are not for {self.output.width}"
        return None

    def evaluate(self, step: Step) -> Array:
        x, made = step[self.x], self.output.width // self.width
        shares = step[self.shares].reshape(len(x), made, self.streams) + np.float32(self.offset)
        streams = x.reshape(len(x), self.streams, self.width)
        y: Array = np.matmul(shares, streams)
        return y.reshape(len(x), self.output.width)


@dataclass(frozen=True, eq=False)
class MatchMagnitude(Operation):
    """Each stream of `x`, of the width of `reference`, times a number that makes it as large as `reference`.

    `x · √mean(reference²) / √max(mean(x²), least)` (transformers, models/gemma3n).
    """

    x: Value
    reference: Value
    least: float

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        if self.x.width != self.output.width or self.x.width % self.reference.width:
            return f"a row of {self.x.width} elements is not streams of {self.reference.width}"
        return None if 0 <= self.least < math.inf else f"its least square is {self.least}"

    def evaluate(self, step: Step) -> Array:
        x, reference = step[self.x], step[self.reference]
        width = self.reference.width
        streams = x.reshape(len(x), self.x.width // width, width)
        wanted = np.sqrt(np.mean(reference * reference, axis=1))[:, None, None]
        power = np.maximum(np.mean(streams * streams, axis=2, keepdims=True), np.float32(self.least))
        y: Array = streams * (wanted / np.sqrt(power))
        return y.reshape(x.shape)


@dataclass(frozen=True, eq=False)
class GaussianCut(Operation):
    """What exceeds `mean + factor · deviation` of its row, and 0 for the rest: `[rows, width]`.

    Of normally distributed elements a share of the standard normal's quantile function at `factor` becomes 0.
    The deviation is that of all elements, `√mean((x - mean)²)` (transformers, models/gemma3n).
    """

    x: Value
    factor: float

    def fault(self) -> str | None:
        """Returns why the factor is invalid; None if it is valid."""
        return None if math.isfinite(self.factor) else f"its factor is {self.factor}"

    def evaluate(self, step: Step) -> Array:
        x = step[self.x]
        centred = x - np.mean(x, axis=-1, keepdims=True)
        deviation = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True))
        y: Array = np.maximum(centred - np.float32(self.factor) * deviation, np.float32(0))
        return y
