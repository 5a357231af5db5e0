"""The type that a tensor gets in a model whose matrices are to be of one type."""

from __future__ import annotations

from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.dtypes import DTYPES, DType

_AT_8_BITS = frozenset({"output.weight", "token_embd.weight"})
"""The matrices of logits and embeddings: with 4 bits, they would lose the most accuracy."""


def target_type(tensor: TensorInfo, wanted: str) -> DType:
    """Returns the type of a tensor in a model whose matrices are to be of the type `wanted`.

    Vectors stay as they are. If `wanted` is quantised, so do tensors whose names do not end in `.weight` and
    the routers of experts (`ffn_gate_inp`), and with 4 bits `output.weight` and `token_embd.weight` become
    Q8_0. A matrix whose rows are not whole blocks becomes Q8_0 or, if a row is not of whole blocks of 32
    either, F16.
    """
    chosen = DTYPES[wanted]
    width = tensor.shape[-1]
    if len(tensor.shape) == 1:
        return tensor.dtype
    if chosen.block_size == 1:
        return chosen
    if not tensor.name.endswith(".weight") or "ffn_gate_inp" in tensor.name:
        return tensor.dtype
    if tensor.name in _AT_8_BITS or width % chosen.block_size:
        chosen = DTYPES["Q8_0"]
    return DTYPES["F16"] if width % chosen.block_size else chosen
