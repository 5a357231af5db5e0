"""The part of `GraphBuilder` for positions, other than RoPE, and for types of tokens."""

from __future__ import annotations

from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.graph import TOKENS, Value
from zigai_core.ops.builder_base import BuilderPart
from zigai_core.ops.operations import PositionEmbedding, PositionScale, TypeEmbedding


class PositionsBuilder(BuilderPart):
    """Methods that append operations on positions and types."""

    def position_embedding(self, name: str, width: int, *, context: int) -> Value:
        """The rows of `{name}.weight`, `[positions, width]`, for the positions of tokens: `[tokens, width]`.

        Raises `UnsupportedError` if the table has fewer rows than `context`, which is the one that the
        architecture builds the graph for: the model knows no later positions. `ShapeError` for another shape.
        """
        tensor = f"{name}.weight"
        shape = self.shape(tensor)
        if len(shape) != 2 or shape[1] != width:
            raise ShapeError(f"tensor {tensor} has shape {shape}; the architecture needs rows of {width}")
        if context > shape[0]:
            raise UnsupportedError(
                f"context {context} is more than the {shape[0]} positions of {tensor}; open the model with "
                f"context={shape[0]} or less"
            )
        return self.append(PositionEmbedding(Value(name, width, TOKENS), self._weight(tensor, shape)))

    def position_scale(self, x: Value, *, length: int, factor: float, name: str, offset: int = 0) -> Value:
        """`x · (1 + factor · ln(1 + ⌊(position + offset) / length⌋))`, one number a row: see `PositionScale`.

        `x` has a row for each token. Raises `ShapeError` for another, and for attributes out of range.
        """
        return self.append(PositionScale(Value(name, x.width, x.rows), x, length, factor, offset))

    def type_embedding(self, name: str, width: int) -> Value:
        """The rows of `{name}.weight`, `[types, width]`, for the types of tokens: `[tokens, width]`.

        Types are those of `Batch.types`, by default 0. A vector `[width]` is the row of the only type. Raises
        `ShapeError` for a tensor of another shape.
        """
        tensor = f"{name}.weight"
        shape = self.shape(tensor)
        rows = (1, *shape) if len(shape) == 1 else shape
        if len(rows) != 2 or rows[1] != width or not rows[0]:
            raise ShapeError(f"tensor {tensor} has shape {shape}; the architecture needs rows of {width}")
        return self.append(TypeEmbedding(Value(name, width, TOKENS), self._weight(tensor, rows)))
