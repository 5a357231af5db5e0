"""The storage types that core has, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from zigai_core.contracts.dtypes import coded, dequantize, quantize
from zigai_core.contracts.dtypes.coded import Decoder, scaled
from zigai_core.contracts.dtypes.dequantize import Kernel
from zigai_core.contracts.dtypes.dtype import DType
from zigai_core.contracts.dtypes.quantize import Quantizer


def _plain(name: str, stored: str) -> DType:
    encode = quantize.plain(name, stored) if name in ("F32", "F16") else None
    return DType(name, 1, np.dtype(stored).itemsize, dequantize.plain(stored), encode)


def _quantised(
    name: str,
    block_size: int,
    layout: np.dtype[np.void],
    kernel: Kernel,
    encode: Quantizer | None = None,
) -> DType:
    return DType(name, block_size, layout.itemsize, dequantize.blockwise(layout, block_size, kernel), encode)


def _coded(name: str, block_size: int, layout: np.dtype[np.void], decode: Decoder) -> DType:
    return _quantised(name, block_size, layout, scaled(decode))


DTYPES: Mapping[str, DType] = MappingProxyType(
    {
        dtype.name: dtype
        for dtype in (
            _plain("F32", "<f4"),
            _plain("F16", "<f2"),
            DType("BF16", 1, 2, dequantize.bf16, quantize.bf16),
            _plain("F64", "<f8"),
            _plain("I8", "<i1"),
            _plain("I16", "<i2"),
            _plain("I32", "<i4"),
            _plain("I64", "<i8"),
            _quantised("Q4_0", 32, dequantize.Q4_0, dequantize.q4_0, quantize.Q4_0),
            _quantised("Q4_1", 32, dequantize.Q4_1, dequantize.q4_1),
            _quantised("Q5_0", 32, dequantize.Q5_0, dequantize.q5_0),
            _quantised("Q5_1", 32, dequantize.Q5_1, dequantize.q5_1),
            _quantised("Q8_0", 32, dequantize.Q8_0, dequantize.q8_0, quantize.Q8_0),
            _quantised("Q2_K", 256, dequantize.Q2_K, dequantize.q2_k),
            _quantised("Q3_K", 256, dequantize.Q3_K, dequantize.q3_k),
            _quantised("Q4_K", 256, dequantize.Q4_K, dequantize.q4_k, quantize.Q4_K),
            _quantised("Q5_K", 256, dequantize.Q5_K, dequantize.q5_k),
            _quantised("Q6_K", 256, dequantize.Q6_K, dequantize.q6_k),
            _quantised("IQ4_NL", 32, dequantize.IQ4_NL, dequantize.iq4_nl),
            _quantised("IQ4_XS", 256, dequantize.IQ4_XS, dequantize.iq4_xs),
            _quantised("MXFP4", 32, dequantize.MXFP4, dequantize.mxfp4),
            _coded("Q8_1", 32, coded.Q8_1, coded.q8_1),
            _coded("Q8_K", 256, coded.Q8_K, coded.q8_k),
            _coded("IQ1_S", 256, coded.IQ1_S, coded.iq1_s),
            _coded("IQ1_M", 256, coded.IQ1_M, coded.iq1_m),
            _coded("IQ2_XXS", 256, coded.IQ2_XXS, coded.iq2_xxs),
            _coded("IQ2_XS", 256, coded.IQ2_XS, coded.iq2_xs),
            _coded("IQ2_S", 256, coded.IQ2_S, coded.iq2_s),
            _coded("IQ3_XXS", 256, coded.IQ3_XXS, coded.iq3_xxs),
            _coded("IQ3_S", 256, coded.IQ3_S, coded.iq3_s),
            _coded("TQ1_0", 256, coded.TQ1_0, coded.tq1_0),
            _coded("TQ2_0", 256, coded.TQ2_0, coded.tq2_0),
            _coded("NVFP4", 64, coded.NVFP4, coded.nvfp4),
            _coded("Q1_0", 128, coded.Q1_0, coded.q1_0),
            _coded("Q2_0", 64, coded.Q2_0, coded.q2_0),
        )
    }
)
"""Core's storage types by their names in ggml (`ggml.h`, `enum ggml_type`); read-only."""
