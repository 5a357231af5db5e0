"""The part of `GraphBuilder` for routing and experts."""

from __future__ import annotations

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value, Weight
from zigai_core.ops.builder_base import BuilderPart
from zigai_core.ops.operations import Activation, Experts, Route, RouteKind


class ExpertsBuilder(BuilderPart):
    """Methods that append the operations of a mixture of experts."""

    def route(
        self,
        scores: Value,
        *,
        used: int,
        name: str,
        kind: RouteKind = "softmax",
        bias: str | None = None,
        groups: int = 1,
        groups_used: int = 1,
        group_best: int = 1,
        renormalise: bool = False,
        scale: float = 1.0,
        epsilon: float = 0.0,
    ) -> Value:
        """The share of each expert, from its score: `[rows, experts]`, as `scores`. See `Route`.

        `bias` is the full name of a tensor (`blk.0.exp_probs_b.bias`). Raises `ShapeError` for attributes out
        of range.
        """
        added = None if bias is None else self._weight(bias, (scores.width,))
        value = Value(name, scores.width, scores.rows)
        return self.append(
            Route(
                value,
                scores,
                used,
                kind,
                added,
                groups,
                groups_used,
                group_best,
                renormalise,
                scale,
                epsilon,
            )
        )

    def experts(
        self,
        x: Value,
        shares: Value,
        at: str,
        *,
        used: int,
        hidden: int,
        activation: Activation = "silu",
        limit: float | None = None,
        up_offset: float = 0.0,
        weighted_input: bool = False,
    ) -> Value:
        """The experts of the layer whose tensors begin with `at`: `[rows, width]`. See `Experts`.

        The tensors are `{at}.ffn_gate_exps`, `{at}.ffn_up_exps` and `{at}.ffn_down_exps`, each with a bias if
        the file has one. `shares` is `[rows, experts]`; in each row the `used` largest are used.
        """
        if x.rows != shares.rows:
            raise ShapeError(f"{at}: {x.name} has {x.rows} rows and {shares.name} has {shares.rows}")
        count = shares.width

        def part(name: str, height: int, width: int) -> tuple[Weight, Weight | None]:
            name = f"{at}.ffn_{name}_exps"
            weight = self._weight(f"{name}.weight", (count, height, width))
            has_bias = self.has(f"{name}.bias")
            return weight, self._weight(f"{name}.bias", (count, height)) if has_bias else None

        (gate, gate_bias), (up, up_bias) = part("gate", hidden, x.width), part("up", hidden, x.width)
        down, down_bias = part("down", x.width, hidden)
        return self.append(
            Experts(
                Value(f"{at}.ffn_experts", x.width, x.rows),
                x,
                shares,
                gate,
                up,
                down,
                used,
                activation,
                gate_bias,
                up_bias,
                down_bias,
                limit,
                up_offset,
                weighted_input,
            )
        )
