"""The operations that graphs consist of. Each class holds its attributes and defines itself in numpy."""

from zigai_core.contracts.descriptor import Pairing
from zigai_core.contracts.pooling import PoolKind
from zigai_core.ops.operations.attention import Attention, Rope
from zigai_core.ops.operations.columns import ColumnScale, ColumnShift
from zigai_core.ops.operations.concat import Concat
from zigai_core.ops.operations.elementwise import Add, Multiply, Scale, SoftCap
from zigai_core.ops.operations.experts import Experts
from zigai_core.ops.operations.feed_forward import (
    Activation,
    GatedActivation,
    SigmoidGate,
    activate,
)
from zigai_core.ops.operations.head_linear import HeadLinear
from zigai_core.ops.operations.inputs import Inputs
from zigai_core.ops.operations.linear import Embedding, Linear
from zigai_core.ops.operations.norms import L2Norm, LayerNorm, RMSNorm
from zigai_core.ops.operations.pool import Pool
from zigai_core.ops.operations.positions import PositionEmbedding, PositionScale
from zigai_core.ops.operations.recurrent import GatedDelta, HeadOrder, SelectiveScan, ShortConv
from zigai_core.ops.operations.route import Route, RouteKind
from zigai_core.ops.operations.rows import Columns, Select
from zigai_core.ops.operations.streams import GaussianCut, MatchMagnitude, MixStreams
from zigai_core.ops.operations.token_types import TypeEmbedding
from zigai_core.ops.operations.unary import Unary, UnaryKind

__all__ = [
    "Activation",
    "Add",
    "Attention",
    "ColumnScale",
    "ColumnShift",
    "Columns",
    "Concat",
    "Embedding",
    "Experts",
    "GatedActivation",
    "GatedDelta",
    "GaussianCut",
    "HeadLinear",
    "HeadOrder",
    "Inputs",
    "L2Norm",
    "LayerNorm",
    "Linear",
    "MatchMagnitude",
    "MixStreams",
    "Multiply",
    "Pairing",
    "Pool",
    "PoolKind",
    "PositionEmbedding",
    "PositionScale",
    "RMSNorm",
    "Rope",
    "Route",
    "RouteKind",
    "Scale",
    "Select",
    "SelectiveScan",
    "ShortConv",
    "SigmoidGate",
    "SoftCap",
    "TypeEmbedding",
    "Unary",
    "UnaryKind",
    "activate",
]
