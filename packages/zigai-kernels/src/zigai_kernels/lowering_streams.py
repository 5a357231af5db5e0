"""Lowering of operations on several streams of a row."""

from __future__ import annotations

from zigai_core.ops.operations import GaussianCut, MatchMagnitude, MixStreams
from zigai_kernels.recorder import Recorder

Streams = MixStreams | MatchMagnitude | GaussianCut


def lower_streams(to: Recorder, op: Streams) -> None:
    """Record one of these operations. `ShapeError` for misfits."""
    to.need_sound(op, op.fault())
    match op:
        case MixStreams(x=x, shares=shares):
            numbers = {"inner": op.width, "start": op.streams, "offset": op.offset}
            to.emit(op, "MIX_STREAMS", x, shares, numbers=numbers)
        case MatchMagnitude(x=x, reference=reference):
            numbers = {"inner": reference.width, "factor": op.least}
            to.emit(op, "MATCH_MAGNITUDE", x, reference, numbers=numbers)
        case GaussianCut(x=x):
            to.same_width(op, x)
            to.emit(op, "GAUSSIAN_CUT", x, numbers={"factor": op.factor})
