"""How `compressed-tensors` quantises the weights of one of its `config_groups`."""

from __future__ import annotations

from typing import NamedTuple

from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors.quantised.settings import Settings

FORMATS = ("pack-quantized", "float-quantized")
USED_OF_GROUP = ("weights", "format")
UNUSED_OF_GROUP = {
    "targets": "the files show which weights are quantised",
    "input_activations": "how other programs round activations",
    "output_activations": "how other programs round activations",
}
USED_OF_WEIGHTS = (
    "num_bits",
    "type",
    "symmetric",
    "strategy",
    "group_size",
    "block_structure",
    "dynamic",
    "actorder",
)
UNUSED_OF_WEIGHTS = {
    "observer": "how the weights were made",
    "observer_kwargs": "how the weights were made",
    "scale_dtype": "scales are read in their own type",
    "zp_dtype": "zero points are read in their own type",
}


class Scheme(NamedTuple):
    """How the weights of one of `config_groups` are quantised."""

    float8: bool
    bits: int
    symmetric: bool
    strategy: str
    group: int
    block: tuple[int, int] | None
    reordered: bool
    """True if inputs were sorted before they were grouped, so that a group index (`weight_g_idx`) belongs to
    the weight. With the `actorder` "weight" or "static", the order of the inputs was restored afterwards."""


def read_scheme(group: Settings, settings: Settings) -> Scheme:
    """Returns the scheme of a group; `settings` has the format of all groups."""
    group.check(USED_OF_GROUP, UNUSED_OF_GROUP)
    layout = group.one_of("format", FORMATS, settings.values.get("format"))
    given = group.inner("weights")
    given.check(USED_OF_WEIGHTS, UNUSED_OF_WEIGHTS)
    float8 = layout == "float-quantized"
    given.one_of("type", ("float",) if float8 else ("int",), "int")
    bits: int = given.one_of("num_bits", (8,) if float8 else (4, 8), 8)
    given.one_of("dynamic", (False,), False)
    symmetric = given.flag("symmetric", True)
    if float8 and not symmetric:
        raise UnsupportedError(f"{given.where}.symmetric is false, which float-quantized does not support")
    size = given.group_size(-1)
    block = given.pair("block_structure")
    usual = "tensor" if given.values.get("group_size") is None else "channel" if size == -1 else "group"
    allowed = ("tensor", "channel", "block") if float8 else ("tensor", "channel", "group")
    strategy: str = given.one_of("strategy", allowed, usual)
    if (strategy == "group" and size == -1) or ((strategy == "block") != (block is not None)):
        raise FormatError(f"{given.where}: strategy is {strategy}, which does not fit its size")
    order = given.one_of("actorder", ("group", "dynamic", "weight", "static", True, False), False)
    reordered = order in ("group", "dynamic", True)
    return Scheme(float8, bits, symmetric, strategy, size, block, reordered)
