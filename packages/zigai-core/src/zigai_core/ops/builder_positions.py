"""The part of `GraphBuilder` for positions, other than RoPE."""

from __future__ import annotations

from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.graph import TOKENS, Value
from zigai_core.ops.builder_base import BuilderPart
from zigai_core.ops.operations import PositionEmbedding, PositionScale


class PositionsBuilder(BuilderPart):
    """Methods that append operations on positions."""

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
