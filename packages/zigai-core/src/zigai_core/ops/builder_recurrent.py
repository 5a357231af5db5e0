"""The part of `GraphBuilder` for operations with a recurrent state."""

from __future__ import annotations

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.contracts.state import Recurrent, State
from zigai_core.ops.builder_base import BuilderPart
from zigai_core.ops.operations import GatedDelta, HeadOrder, SelectiveScan, ShortConv


class RecurrentBuilder(BuilderPart):
    """Methods that append operations with a recurrent state.

    `state` is the name of a new state, or a state that already exists.
    """

    def short_conv(self, x: Value, weight: str, *, state: str | State, name: str | None = None) -> Value:
        """A causal convolution of each channel with `{weight}.weight` `[channels, taps]`. See `ShortConv`.

        `{weight}.bias` is added if the file has one. Returns `[tokens, channels]`, as `x`.
        """
        stored = self.shape(f"{weight}.weight")
        matrix = self._weight(f"{weight}.weight", (x.width, stored[-1] if stored else 0))
        bias = self._weight(f"{weight}.bias", (x.width,)) if self.has(f"{weight}.bias") else None
        kept = self._recurrent(state, "x", (matrix.shape[1] - 1, x.width))
        return self.append(ShortConv(Value(name or weight, x.width, x.rows), x, matrix, kept, bias))

    def gated_delta(
        self,
        q: Value,
        k: Value,
        v: Value,
        decay: Value,
        beta: Value,
        *,
        state: str | State,
        heads: int,
        key_heads: int,
        scale: float,
        name: str,
        order: HeadOrder = "grouped",
    ) -> Value:
        """The gated delta rule: `[tokens, heads · value_dim]`, as `v`. See `GatedDelta`.

        Raises `ShapeError` for attributes out of range, or values that do not fit them.
        """
        if min(heads, key_heads) < 1:
            raise ShapeError(f"{name}: {heads} heads and {key_heads} key heads")
        kept = self._recurrent(state, "s", (heads, q.width // key_heads, v.width // heads))
        value = Value(name, v.width, v.rows)
        return self.append(GatedDelta(value, q, k, v, decay, beta, kept, heads, key_heads, scale, order))

    def selective_scan(
        self,
        x: Value,
        step: Value,
        b: Value,
        c: Value,
        *,
        a: str,
        state: str | State,
        heads: int,
        name: str,
        groups: int = 1,
        d: str | None = None,
    ) -> Value:
        """The selective scan of Mamba 1 and 2: `[tokens, heads · head_dim]`, as `x`. See `SelectiveScan`.

        `a` and `d` are full names of tensors (`blk.0.ssm_a`). Raises `ShapeError` for attributes out of
        range, or values that do not fit them.
        """
        if min(heads, groups) < 1:
            raise ShapeError(f"{name}: {heads} heads and {groups} groups")
        kept = self._recurrent(state, "h", (heads, x.width // heads, b.width // groups))
        numbers = self._weight(a, self.shape(a))
        added = None if d is None else self._weight(d, self.shape(d))
        value = Value(name, x.width, x.rows)
        return self.append(SelectiveScan(value, x, step, b, c, numbers, kept, heads, groups, added))

    def _recurrent(self, state: str | State, name: str, shape: tuple[int, ...]) -> State:
        return self.state(state, Recurrent({name: (shape, "float32")})) if isinstance(state, str) else state
