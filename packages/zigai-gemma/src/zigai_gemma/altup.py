"""Alternating updates: several streams, of which layers compute one (Baykal et al., 2023, arXiv:2301.13310).

Source of the formulas: transformers (models/gemma3n, `Gemma3nTextAltUp`).
"""

from __future__ import annotations

from dataclasses import dataclass

from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.graph import Value
from zigai_core.ops.blocks import DecoderShape
from zigai_core.ops.builder import GraphBuilder

LEAST = 1e-5
"""Least mean square of a stream that is made as large as another (transformers, models/gemma3n)."""


@dataclass(frozen=True, eq=False)
class AltUp:
    """Appends the operations on `count` streams side by side, `[rows, count · width]`.

    `index` is the number of the stream that layers compute.
    """

    g: GraphBuilder
    count: int
    index: int
    width: int
    epsilon: float

    @classmethod
    def of(cls, g: GraphBuilder, hp: Hyperparameters, shape: DecoderShape) -> AltUp:
        """Reads the numbers of a file. Raises `FormatError` for one out of range."""
        count = hp.integer("altup.num_inputs", 4, minimum=2, maximum=64)
        index = hp.integer("altup.active_idx", 0, maximum=count - 1)
        return cls(g, count, index, shape.width, shape.epsilon)

    def begin(self, x: Value) -> Value:
        """The streams of the embedding: itself, and projections of it, as large as it is."""
        others = self.g.head_linear(self._repeated(x), "altup_proj", self.count - 1, self.width)
        others = self.g.match_magnitude(others, x, LEAST, name="altup_others")
        return self.g.concat(x, others, name="altup_streams")

    def end(self, streams: Value) -> Value:
        """The mean of the first stream and of projections of the others, as large as it is."""
        g = self.g
        total = first = self._columns(streams, 0, 1, "altup_first")
        others = self._columns(streams, 1, self.count - 1, "altup_rest")
        others = g.head_linear(others, "altup_unembd_proj", self.count - 1, self.width)
        others = g.match_magnitude(others, first, LEAST, name="altup_matched")
        for number in range(self.count - 1):
            part = self._columns(others, number, 1, f"altup_matched_{number}")
            total = g.add(total, part, name=f"altup_sum_{number}")
        return g.scale(total, 1 / self.count, name="altup_mean")

    def active(self, streams: Value, name: str) -> Value:
        """The stream that layers compute."""
        return self._columns(streams, self.index, 1, name)

    def predict(self, streams: Value, at: str) -> Value:
        """What the streams are predicted to be after a layer: each plus a sum of all."""
        g = self.g
        shares = self._modalities(self.active(streams, f"{at}.altup_input"), at, "predict")
        shares = g.linear(shares, f"{at}.altup_predict_coef", self.count**2)
        moved = g.mix_streams(streams, shares, self.count, name=f"{at}.altup_moved")
        return g.add(moved, streams, name=f"{at}.altup_predicted")

    def correct(self, predicted: Value, computed: Value, at: str) -> Value:
        """The streams after a layer: to each, a share of what the prediction of the computed one lacked."""
        g = self.g
        shares = self._modalities(computed, at, "correct")
        shares = g.linear(shares, f"{at}.altup_correct_coef", self.count)
        lacked = g.scale(self.active(predicted, f"{at}.altup_guess"), -1.0, name=f"{at}.altup_negated")
        lacked = g.add(computed, lacked, name=f"{at}.altup_innovation")
        moved = g.mix_streams(lacked, shares, 1, offset=1.0, name=f"{at}.altup_correction")
        return g.add(moved, predicted, name=f"{at}.altup_corrected")

    def scaled(self, streams: Value, at: str) -> Value:
        """The stream that layers compute, times a vector."""
        first = self.active(streams, f"{at}.altup_output")
        return self.g.column_scale(first, f"{at}.altup_correct_scale.weight", name=f"{at}.altup_scaled")

    def add_to_others(self, streams: Value, x: Value, at: str) -> Value:
        """The streams with `x` added to all but the first."""
        g = self.g
        others = self._columns(streams, 1, self.count - 1, f"{at}.altup_others")
        others = g.add(others, self._repeated(x), name=f"{at}.altup_fed")
        return g.concat(self._columns(streams, 0, 1, f"{at}.altup_kept"), others, name=f"{at}.altup_streams")

    def _modalities(self, x: Value, at: str, part: str) -> Value:
        """By what the streams are mixed: `[rows, count]`, between -1 and 1."""
        g, name = self.g, f"{at}.altup_{part}"
        x = g.rms_norm(x, f"{at}.altup_router_norm", self.epsilon, name=f"{name}_norm")
        x = g.scale(x, 1 / self.width, name=f"{name}_input")
        x = g.linear(x, f"{at}.altup_router", self.count, name=f"{name}_router")
        return g.unary(x, "tanh", name=f"{name}_modalities")

    def _columns(self, x: Value, first: int, count: int, name: str) -> Value:
        return self.g.columns(x, first * self.width, count * self.width, name=name)

    def _repeated(self, x: Value) -> Value:
        """`x` once for each stream but the first."""
        y = x
        for number in range(self.count - 2):
            y = self.g.concat(y, x, name=f"{x.name} x{number + 2}")
        return y
