"""The part of `GraphBuilder` for streams side by side, and for the cut of small elements."""

from __future__ import annotations

from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.ops.builder_base import BuilderPart
from zigai_core.ops.operations import GaussianCut, MatchMagnitude, MixStreams


class StreamsBuilder(BuilderPart):
    """Methods that append operations on several streams of a row."""

    def mix_streams(self, x: Value, shares: Value, streams: int, *, name: str, offset: float = 0.0) -> Value:
        """Sums of the `streams` streams of `x`, of which each row has its own shares: see `MixStreams`."""
        self._same_rows(x, shares, name)
        if streams < 1 or x.width % streams or shares.width % streams:
            raise ShapeError(f"{name}: {x.name} or {shares.name} is not for {streams} streams")
        width = shares.width // streams * (x.width // streams)
        return self.append(MixStreams(Value(name, width, x.rows), x, shares, streams, offset))

    def match_magnitude(self, x: Value, reference: Value, least: float, *, name: str) -> Value:
        """Each stream of `x` as large as `reference`, whose width they have: see `MatchMagnitude`."""
        self._same_rows(x, reference, name)
        return self.append(MatchMagnitude(Value(name, x.width, x.rows), x, reference, least))

    def gaussian_cut(self, x: Value, factor: float, *, name: str) -> Value:
        """What exceeds the mean of its row by `factor` deviations, and 0 for the rest: see `GaussianCut`."""
        return self.append(GaussianCut(Value(name, x.width, x.rows), x, factor))

    @staticmethod
    def _same_rows(a: Value, b: Value, name: str) -> None:
        if a.rows != b.rows:
            raise ShapeError(f"{name}: {a.name} has {a.rows} rows and {b.name} has {b.rows}")
