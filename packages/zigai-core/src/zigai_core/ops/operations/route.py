"""Choice of the experts that a row uses, and how much each counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array, Operation, Step, Value, Weight

RouteKind = Literal["softmax", "sigmoid", "softmax_chosen"]
"""What makes shares of a router's scores: softmax over all experts, sigmoid, softmax over those chosen."""


@dataclass(frozen=True, eq=False)
class Route(Operation):
    """Shares of experts from a router's scores, `[rows, experts]` to the same: 0 for an expert not used.

    With p = softmax or sigmoid of the scores, or the scores themselves for `softmax_chosen`, the `used`
    experts with the largest p + `bias` are chosen (of equal ones the first), and their shares are p, or the
    softmax over the chosen scores. `renormalise` divides them by their sum + `epsilon`; `scale` multiplies
    them. With `groups` of equally many neighbouring experts, only experts of the `groups_used` best groups
    can be chosen; a group counts as the sum of its `group_best` largest p + `bias`.

    A score or sum that is not a number makes all shares of its row NaN.

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
        # Stable and by negated values: of equal ones the first are chosen. Experts not allowed come last.
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
        """What is wrong with the attributes; None if nothing is."""
        experts = self.scores.width
        for name in ("used", "groups", "groups_used", "group_best"):
            if type(getattr(self, name)) is not int:
                return f"{name} is {getattr(self, name)!r}, not a whole number"
        size = experts // self.groups if self.groups > 0 else 0
        if self.output.width != experts:
            return f"{experts} scores and {self.output.width} shares"
        if not 1 <= self.used <= experts:
            return f"{self.used} of {experts} experts are used"
        if self.groups < 1 or experts % self.groups:
            return f"{experts} experts are no {self.groups} groups of equal size"
        if not 1 <= self.groups_used <= self.groups:
            return f"{self.groups_used} of {self.groups} groups are used"
        if not 1 <= self.group_best <= size:
            return f"a group of {size} experts counts as its best {self.group_best}"
        if self.used > self.groups_used * size:
            return (
                f"{self.used} experts are used, but {self.groups_used} groups have {self.groups_used * size}"
            )
        if not math.isfinite(self.scale):
            return f"its scale is {self.scale}"
        if not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            return f"its epsilon is {self.epsilon}"
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
        """Experts that may be chosen, `[rows, experts]`, and rows with what is not a number, `[rows]`."""
        wrong: NDArray[np.bool_] = np.any(np.isnan(choice), axis=-1)
        if self.groups == 1:
            return np.ones(choice.shape, np.bool_), wrong
        members = choice.reshape(len(choice), self.groups, -1)
        worth = -np.sort(-members, axis=-1)[..., : self.group_best].sum(axis=-1)
        best = np.argsort(-worth, axis=-1, kind="stable")[:, : self.groups_used]
        allowed = np.zeros(worth.shape, np.bool_)
        np.put_along_axis(allowed, best, True, axis=-1)
        wrong = np.logical_or(wrong, np.isnan(worth).any(axis=-1))
        return np.repeat(allowed, members.shape[-1], axis=-1), wrong
