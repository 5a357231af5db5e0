"""The part of `GraphBuilder` for elements, columns and groups of columns."""

from __future__ import annotations

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.ops.builder_base import BuilderPart
from zigai_core.ops.operations import ColumnScale, ColumnShift, Concat, HeadLinear, L2Norm, Unary, UnaryKind


class ColumnsBuilder(BuilderPart):
    """Methods that append functions of elements, vectors of the file, norms without them, and heads."""

    def unary(self, x: Value, kind: UnaryKind, *, name: str) -> Value:
        """A function of each element: see `Unary`."""
        return self.append(Unary(Value(name, x.width, x.rows), x, kind))

    def l2_norm(self, x: Value, epsilon: float, *, name: str, group: int | None = None) -> Value:
        """`x / √(sum(x²) + epsilon)` of the whole row or of each `group` elements of it."""
        group = x.width if group is None else group
        return self.append(L2Norm(Value(name, x.width, x.rows), x, group, epsilon))

    def column_scale(self, x: Value, tensor: str, *, name: str) -> Value:
        """`x` times the vector `tensor`, `[width]`, whose full name that is (`blk.0.ssm_d`)."""
        return self.append(ColumnScale(Value(name, x.width, x.rows), x, self._weight(tensor, (x.width,))))

    def column_shift(self, x: Value, tensor: str, *, name: str, row: int | None = None) -> Value:
        """`x` plus the vector `tensor`, `[width]`, whose full name that is (`blk.0.ssm_dt.bias`).

        With `row`, plus that row of a matrix `[rows, width]` (`token_types.weight`).
        """
        shape = (x.width,) if row is None else (self._rows(tensor, x.width), x.width)
        weight = self._weight(tensor, shape)
        return self.append(ColumnShift(Value(name, x.width, x.rows), x, weight, row or 0))

    def concat(self, a: Value, b: Value, *, name: str, groups: int = 1, shared: bool = False) -> Value:
        """`a` and `b` side by side, in each of so many groups of a row: `[rows, a.width + b.width]`.

        With `shared`, `b` follows each group of `a`: `[rows, a.width + groups · b.width]`. See `Concat`.
        """
        width = a.width + b.width * (groups if shared else 1)
        return self.append(Concat(Value(name, width, a.rows), a, b, groups, shared))

    def head_linear(self, x: Value, weight: str, heads: int, width: int, *, name: str | None = None) -> Value:
        """Each head of `x` times its own matrix of `{weight}.weight`, `[heads, width, x.width / heads]`.

        `[rows, x.width]` to `[rows, heads · width]`. See `HeadLinear`.
        """
        if heads < 1 or x.width % heads:
            raise ShapeError(f"{name or weight}: a row of {x.width} elements is not whole heads, of {heads}")
        matrices = self._weight(f"{weight}.weight", (heads, width, x.width // heads))
        return self.append(HeadLinear(Value(name or weight, heads * width, x.rows), x, matrices))

    def _rows(self, tensor: str, width: int) -> int:
        """Returns the rows of a matrix. Raises `ShapeError` if it is none of this width."""
        shape = self.shape(tensor)
        if len(shape) not in (1, 2) or shape[-1] != width:
            raise ShapeError(f"tensor {tensor} has shape {shape}; the architecture needs rows of {width}")
        return 1 if len(shape) == 1 else shape[0]
