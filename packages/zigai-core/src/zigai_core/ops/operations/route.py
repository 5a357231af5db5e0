"""The router of a mixture of experts: which experts a row uses, and with which shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight

RouteKind = Literal["softmax", "sigmoid", "softmax_chosen"]
"""How scores become shares: softmax over all experts, sigmoid, or softmax over the chosen experts."""


@dataclass(frozen=True, eq=False)
class Route(Operation):
    """The share of each expert from its score, `[rows, experts]` to `[rows, experts]`; 0 if it is not used.

    p is the softmax or the sigmoid of the scores, by `kind`; for `softmax_chosen`, the scores themselves. The
    `used` experts with the largest p + `bias` are chosen (of equal ones, the first). Their shares are p; for
    `softmax_chosen`, the softmax over the chosen scores. `renormalise` divides the shares by their sum +
    `epsilon`; then `scale` multiplies them. With `groups`, experts are divided into groups of consecutive
    experts of equal size, and only experts of the `groups_used` best groups can be chosen; the rank of a
    group is the sum of its `group_best` largest p + `bias`.

    If p + `bias` or the sum of a group is NaN, all shares of the row are NaN.

    Sources: softmax, arXiv:2401.04088 (section 2.1); groups by their best expert, DeepSeek-V2,
    arXiv:2405.04434 (section 2.1.2); sigmoid, `bias` (`[experts]`) and groups by their best two, DeepSeek-V3,
    arXiv:2412.19437 (section 2.1.2); softmax of the chosen, gpt-oss, arXiv:2508.10925.
    """

    scores: Value
    used: int
    kind: RouteKind = "softmax"
    bias: Weight | None = None
    groups: int = 1
    groups_used: int = 1
    group_best: int = 1
    renormalise: bool = False
    scale: float = 1.0
    epsilon: float = 0.0

    def evaluate(self, step: Step) -> Array:
        scores = step[self.scores]
        p = self._probabilities(scores)
        choice = p if self.bias is None else p + step.weight(self.bias)
        allowed, wrong = self._allowed(choice)
        # A stable sort of negated values: of equal ones the first is chosen. Excluded experts come last.
        order = np.lexsort((-choice, ~allowed), axis=-1)
        chosen = order[:, : self.used]
        shares = np.take_along_axis(p, chosen, axis=-1)
        if self.kind == "softmax_chosen":
            shares = np.exp(shares - shares.max(axis=-1, keepdims=True))
            shares /= shares.sum(axis=-1, keepdims=True)
        if self.renormalise:
            shares = shares / (shares.sum(axis=-1, keepdims=True) + np.float32(self.epsilon))
        result = np.zeros(scores.shape, np.float32)
        np.put_along_axis(result, chosen, shares * np.float32(self.scale), axis=-1)
        result[wrong] = np.nan
        return result

    def fault(self) -> str | None:
        """Returns why the attributes are invalid; None if they are valid."""
        experts = self.scores.width
        for name in ("used", "groups", "groups_used", "group_best"):
            if type(getattr(self, name)) is not int:
                return f"{name} is {getattr(self, name)!r}, not a whole number"
        size = experts // self.groups if self.groups > 0 else 0
        if self.output.width != experts:
            return f"it has {experts} scores, but {self.output.width} shares"
        if not 1 <= self.used <= experts:
            return f"{self.used} of {experts} experts are used, which is out of range"
        if self.groups < 1 or experts % self.groups:
            return f"{experts} experts cannot be divided into {self.groups} groups of equal size"
        if not 1 <= self.groups_used <= self.groups:
            return f"{self.groups_used} of {self.groups} groups are used, which is out of range"
        if not 1 <= self.group_best <= size:
            return f"group_best is {self.group_best}, but a group has {size} experts"
        if self.used > self.groups_used * size:
            return (
                f"{self.used} experts are used, but {self.groups_used} groups have {self.groups_used * size}"
            )
        if not math.isfinite(self.scale):
            return f"its scale is {self.scale}, which is not finite"
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            return f"its epsilon is {self.epsilon}, which is not finite or is negative"
        return None

    def _probabilities(self, scores: Array) -> Array:
        if self.kind == "softmax_chosen":
            return scores
        p: Array
        if self.kind == "sigmoid":
            p = np.reciprocal(1 + np.exp(-scores))
        elif self.kind == "softmax":
            p = np.exp(scores - scores.max(axis=-1, keepdims=True))
            p /= p.sum(axis=-1, keepdims=True)
        else:
            raise UnsupportedError(f"{self.output.name}: there is no route of kind {self.kind!r}")
        return p

    def _allowed(self, choice: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Returns which experts can be chosen, `[rows, experts]`, and which rows have a NaN, `[rows]`."""
        wrong: NDArray[np.bool_] = np.any(np.isnan(choice), axis=-1)
        if self.groups == 1:
            return np.ones(choice.shape, np.bool_), wrong
        members = choice.reshape(len(choice), self.groups, choice.shape[1] // self.groups)
        worth = -np.sort(-members, axis=-1)[..., : self.group_best].sum(axis=-1)
        best = np.argsort(-worth, axis=-1, kind="stable")[:, : self.groups_used]
        allowed = np.zeros(worth.shape, np.bool_)
        np.put_along_axis(allowed, best, True, axis=-1)
        wrong = np.logical_or(wrong, np.isnan(worth).any(axis=-1))
        return np.repeat(allowed, members.shape[-1], axis=-1), wrong
