"""Rows, or the heads of rows, joined side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.graph import Array, Operation, Step, Value


@dataclass(frozen=True, eq=False)
class Concat(Operation):
    """Columns of `a`, then columns of `b`, in each of `groups` equal groups of a row, such as its heads.

    `a` is `[rows, groups · x]`, the output `[rows, groups · (x + y)]`, and `b` `[rows, groups · y]`; with
    `shared`, `b` is `[rows, y]` and follows each group of `a`. In multi-head latent attention, the parts of
    queries and keys without and with positions, of which the latter is one for all keys (DeepSeek-V2,
    arXiv:2405.04434, section 2.1.3).
    """

    a: Value
    b: Value
    groups: int = 1
    shared: bool = False

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        groups = self.groups
        if type(groups) is not int or groups < 1 or self.a.width % groups:
            return f"a row of {self.a.width} elements is not {groups!r} whole groups"
        if self.a.rows != self.b.rows or self.output.rows != self.a.rows:
            return f"{self.a.name} has {self.a.rows} rows and {self.b.name} has {self.b.rows} rows"
        width = self.a.width + self.b.width * (groups if self.shared else 1)
        if self.output.width != width or (not self.shared and self.b.width % groups):
            return (
                f"{groups} groups of {self.a.name}, {self.a.width} wide, and {self.b.name}, "
                f"{self.b.width} wide, do not give {self.output.width} elements"
            )
        return None

    def evaluate(self, step: Step) -> Array:
        a, b = step[self.a], step[self.b]
        size, shared = self.a.width // self.groups, 1 if self.shared else self.groups
        left = a.reshape(len(a), self.groups, size)
        right = b.reshape(len(b), shared, self.b.width // shared)
        right = np.broadcast_to(right, (len(a), self.groups, right.shape[2]))
        return np.concatenate((left, right), axis=2).reshape(len(a), self.output.width)
