"""Elementwise arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """`a + b`, elementwise."""

    a: Value
    b: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.a] + step[self.b]


@dataclass(frozen=True, eq=False)
class Multiply(Operation):
    """`a · b`, elementwise."""

    a: Value
    b: Value

    def evaluate(self, step: Step) -> Array:
        return step[self.a] * step[self.b]


@dataclass(frozen=True, eq=False)
class Scale(Operation):
    """`x · factor`."""

    x: Value
    factor: float

    def evaluate(self, step: Step) -> Array:
        y: Array = step[self.x] * np.float32(self.factor)
        return y


@dataclass(frozen=True, eq=False)
class SoftCap(Operation):
    """`cap · tanh(x / cap)`, elementwise, which limits elements to ±cap (Gemma 2, arXiv:2408.00118)."""

    x: Value
    cap: float

    def evaluate(self, step: Step) -> Array:
        y: Array = np.tanh(step[self.x] / np.float32(self.cap)) * np.float32(self.cap)
        return y
