"""The type that a tensor gets in a model whose matrices are to be of one type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType

_UNQUANTISED = ("ffn_gate_inp", "ssm_conv1d", "shortconv.conv", "ssm_norm", "position_embd", "token_types")
"""Parts of the names of matrices that decide much and take little: routers, filters, norms of groups,
embeddings of positions and of types."""

_AT_8_BITS = frozenset({"output.weight", "token_embd.weight"})
"""The matrices of logits and embeddings: with 4 bits, they would lose the most accuracy."""


def target_type(tensor: TensorInfo, wanted: str) -> DType:
    """Returns the type of a tensor in a model whose matrices are to be of the type `wanted`.

    Vectors stay as they are. If `wanted` is quantised, so do tensors whose names do not end in `.weight`,
    the routers of experts (`ffn_gate_inp`), the filters of short convolutions, the norms of groups, and the
    embeddings of positions and of types; with 4 bits `output.weight` and `token_embd.weight` become Q8_0. A
    matrix whose rows are not whole blocks becomes Q8_0 or, if a row is not of whole blocks of 32 either, F16.
    """
    chosen = DTYPES[wanted]
    width = tensor.shape[-1]
    if len(tensor.shape) == 1:
        return tensor.dtype
    if chosen.block_size == 1:
        return chosen
    if not tensor.name.endswith(".weight") or any(part in tensor.name for part in _UNQUANTISED):
        return tensor.dtype
    if tensor.name in _AT_8_BITS or width % chosen.block_size:
        chosen = DTYPES["Q8_0"]
    return DTYPES["F16"] if width % chosen.block_size else chosen


def told(tensors: Iterable[TensorInfo], wanted: str) -> str | None:
    """Returns which matrices get another type than `wanted` because of their rows, as a sentence.

    None if there are none, and for types that any row can have.
    """
    block = DTYPES[wanted].block_size
    became, widths = Counter[str](), set[int]()
    for tensor in tensors:
        target = target_type(tensor, wanted)
        short = len(tensor.shape) > 1 and tensor.shape[-1] % block
        if short and target is not tensor.dtype and tensor.name not in _AT_8_BITS:
            became[target.name] += 1
            widths.add(tensor.shape[-1])
    if not became:
        return None
    counts = " and ".join(f"{count} as {name}" for name, count in became.items())
    rows = ", ".join(map(str, sorted(widths)))
    smaller = "; Q4_0 takes less memory" if "Q8_0" in became else ""
    return (
        f"of the matrices, {counts} instead of {wanted}: rows of {rows} elements are no whole blocks of "
        f"{block}{smaller}"
    )
