"""Encoding of rows in C: `quantize.c`."""

from __future__ import annotations

from threading import Lock
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.dtypes.quantize import unstorable
from zigai_core.contracts.errors import ShapeError, UnsupportedError
from zigai_core.contracts.plugins import ENCODED_FROM
from zigai_kernels.packer import refuse_torn
from zigai_kernels.storage import CODES

TYPES = frozenset({"Q8_0", "Q4_0", "Q4_K"})
"""Types with an encoder: `quantizers` in quantize.c."""

_GUARD = Lock()


def quantize_rows(module: ModuleType, data: NDArray[np.uint8], source: str, dtype: str) -> NDArray[np.uint8]:
    """Encodes rows of whole blocks: see `zigai_core.contracts.plugins.QuantizingBackend`."""
    if source not in ENCODED_FROM or dtype not in TYPES:
        raise UnsupportedError(
            f"the native backend does not encode {source} as {dtype}, only "
            f"{', '.join(sorted(ENCODED_FROM))} as {', '.join(sorted(TYPES))}"
        )
    stored, target = DTYPES[source], DTYPES[dtype]
    nbytes = stored.block_bytes * target.block_size
    if data.dtype != np.uint8 or data.ndim != 1 or data.size % nbytes:
        raise ShapeError(
            f"{data.size} numbers of {data.dtype} {data.shape} are not bytes of {source} for whole blocks of "
            f"{dtype}, {nbytes} each"
        )
    ffi, lib = module.ffi, module.lib
    data, blocks = np.ascontiguousarray(data), data.size // nbytes
    out = np.empty(blocks * target.block_bytes, np.uint8)
    with _GUARD:
        lib.zg_guard()
    bad = lib.zg_quantize(CODES[dtype], CODES[source], ffi.from_buffer(data), blocks, ffi.from_buffer(out))
    if lib.zg_torn():
        refuse_torn(())
    if bad >= 0:
        raise unstorable(
            stored.to_float32(data[bad * nbytes : (bad + 1) * nbytes], (target.block_size,)), dtype
        )
    return out
