"""Tiny models with random weights, in memory; a seed gives the same weights on every machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.descriptor import (
    Conventions,
    Hyperparameters,
    ModelDescriptor,
    Pairing,
    TensorInfo,
    TokenizerSpec,
)
from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import UnsupportedError

USUAL_SCALES: Mapping[str, tuple[float, ...]] = {
    "Q4_0": (1 / 4.6,),
    "Q4_1": (1 / 4.6, -7.5 / 4.6),
    "Q5_0": (1 / 9.2,),
    "Q5_1": (1 / 9.2, -15.5 / 9.2),
    "Q8_0": (1 / 74,),
    "Q2_K": (1 / 8.8, 1.5 / 8.8),
    "Q3_K": (1 / 42,),
    "Q4_K": (1 / 174, 7.5 / 174),
    "Q5_K": (1 / 348, 15.5 / 348),
    "Q6_K": (1 / 1400,),
    "IQ4_NL": (1 / 72,),
    "IQ4_XS": (1 / 1330,),
    "MXFP4": (1 / 5.3,),
    "NVFP4": (1 / 5.3,),
    "Q1_0": (1.0,),
    "Q2_0": (1 / 1.2,),
    "TQ1_0": (1 / 0.8,),
    "TQ2_0": (1 / 1.2,),
    "IQ1_S": (1 / 7,),
    "IQ1_M": (1 / 7,),
    "IQ2_XXS": (1 / 50,),
    "IQ2_XS": (1 / 50,),
    "IQ2_S": (1 / 50,),
    "IQ3_XXS": (1 / 150,),
    "IQ3_S": (1 / 150,),
    "Q8_1": (1 / 74,),
    "Q8_K": (1 / 74,),
}
"""The scales (and minimums) of a block with which random bits have a variance of about 1."""

_OFFSETS: Mapping[str, tuple[int, ...]] = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}
"""Positions of scales in a block where these are not at its start."""


def set_scales(dtype: str, blocks: NDArray[np.uint8], values: Sequence[float]) -> None:
    """Writes the scales of blocks `[blocks, block_bytes]`, a value for each of `USUAL_SCALES[dtype]`."""
    if dtype == "MXFP4":
        blocks[:, 0] = 128 + np.rint(np.log2(values[0]))
    elif dtype == "NVFP4":
        # a power of two, as 1.0 times it in E4M3 with half its value
        blocks[:, :4] = np.clip(8 + np.rint(np.log2(values[0])), 1, 15).astype(np.uint8) << 3
    elif dtype == "IQ1_M":
        bits = int(np.array([values[0]], "<f2").view("<u2")[0])
        for i in range(4):
            blocks[:, 49 + 2 * i] = blocks[:, 49 + 2 * i] & 15 | (bits >> 4 * i & 15) << 4
    elif dtype == "Q8_K":
        blocks[:, :4] = np.array([values[0]], "<f4").view(np.uint8)
    else:
        for offset, value in zip(_OFFSETS.get(dtype, (0, 2)), values, strict=False):
            blocks[:, offset : offset + 2] = np.array([value], "<f2").view(np.uint8)


def random_tensor(
    name: str, shape: tuple[int, ...], dtype: str | DType, random: np.random.RandomState, std: float
) -> TensorInfo:
    """Returns a tensor of random values with a standard deviation of about `std`, stored as `dtype`.

    Integers are ±⌈std⌉ or 0. Raises `UnsupportedError` for a storage type that is not among `USUAL_SCALES`,
    F32, F16, BF16, F64 and integers.
    """
    dtype = DTYPES[dtype] if isinstance(dtype, str) else dtype
    count = int(np.prod(shape))
    if dtype.name in ("F32", "F16", "BF16"):
        values = (random.standard_normal(count) * std).astype(np.float32)
        return TensorInfo(name, shape, dtype, store_floats(values, dtype.name))
    if dtype.name == "F64":
        return TensorInfo(
            name, shape, dtype, (random.standard_normal(count) * std).astype("<f8").view(np.uint8)
        )
    if dtype.name in ("I8", "I16", "I32", "I64"):
        most = int(np.ceil(std))
        signs = random.choice((-most, most), count) * (random.random_sample(count) < (std / most) ** 2)
        stored = signs.astype(f"<i{dtype.block_bytes}")
        return TensorInfo(name, shape, dtype, stored.view(np.uint8))
    if dtype.name not in USUAL_SCALES:
        raise UnsupportedError(
            f"random_tensor does not support the storage type {dtype.name}; add its scales to USUAL_SCALES"
        )
    blocks = random.randint(0, 256, (count // dtype.block_size, dtype.block_bytes)).astype(np.uint8)
    if dtype.name in ("Q4_K", "Q5_K"):
        blocks[:, 4:16] = 0x5F  # scales and minimums of similar size, so that the mean of values is near zero
    set_scales(dtype.name, blocks, [value * std for value in USUAL_SCALES[dtype.name]])
    return TensorInfo(name, shape, dtype, blocks.reshape(-1))


def random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int = 3) -> dict[str, TensorInfo]:
    """Returns random F32 tensors of these shapes.

    The standard deviation of vectors is 1; that of matrices, 1/√columns, keeps the deviation of a product.
    """
    random = np.random.RandomState(seed)
    stds = {name: 1.0 if len(shape) == 1 else shape[-1] ** -0.5 for name, shape in shapes.items()}
    return {name: random_tensor(name, shape, "F32", random, stds[name]) for name, shape in shapes.items()}


def store_floats(values: NDArray[np.float32], dtype: str) -> NDArray[np.uint8]:
    """Returns float32 values as the bytes of F32, F16 or BF16 (by truncation)."""
    if dtype == "F32":
        return values.astype("<f4").view(np.uint8).reshape(-1)
    if dtype == "F16":
        return values.astype("<f2").view(np.uint8).reshape(-1)
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").view(np.uint8).reshape(-1)


Maker = Callable[[str, tuple[int, ...], str, np.random.RandomState, float], TensorInfo]
"""Makes a matrix, with the arguments of `random_tensor`."""


def toy_decoder(
    architecture: str = "llama",
    dtype: str | Callable[[str, int], str] = "F32",
    *,
    dtypes: Mapping[str, str] | None = None,
    layers: int = 2,
    width: int = 64,
    hidden: int = 96,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int | None = None,
    value_dim: int | None = None,
    vocabulary: int = 512,
    context: int = 512,
    tied: bool = False,
    bias: bool = False,
    qk_norm: bool = False,
    fused: bool = False,
    experts: int = 0,
    shared_expert: bool = False,
    pairing: Pairing | None = None,
    seed: int = 7,
    maker: Maker = random_tensor,
    **hyperparameters: Any,
) -> ModelDescriptor:
    """Returns a pre-norm decoder with random weights.

    `dtype` is the storage type of matrices, or a function from a matrix's name and columns to it; `dtypes`
    overrides it by a tensor's short name (`ffn_down`). Vectors are F32. `maker` makes the matrices. `tied`
    omits the output matrix, `bias` adds biases to the projections of queries, keys and values, `fused` stores
    these projections as one matrix. `experts` is the number of experts, of which each token uses two; 0 gives
    a dense model. `pairing` is that of RoPE; by default, that of GGUF files: `adjacent` for `llama`,
    otherwise `half`.

    Other keyword arguments become hyperparameters; two underscores stand for a dot
    (`attention__sliding_window=8`).
    """
    head_dim = head_dim or width // heads
    value_dim = value_dim or head_dim
    pairing = pairing or ("adjacent" if architecture == "llama" else "half")
    random = np.random.RandomState(seed)
    tensors: dict[str, TensorInfo] = {}

    def matrix(name: str, *shape: int) -> None:
        usual = dtype if isinstance(dtype, str) else dtype(f"{name}.weight", shape[-1])
        stored = (dtypes or {}).get(name.rsplit(".", 1)[-1], usual)
        tensor = maker(f"{name}.weight", shape, stored, random, 0.7 / shape[-1] ** 0.5)
        tensors[tensor.name] = tensor

    def vector(name: str, size: int, mean: float) -> None:
        values = (mean + 0.1 * random.standard_normal(size)).astype(np.float32)
        tensors[name] = TensorInfo(name, (size,), DTYPES["F32"], store_floats(values, "F32"))

    matrix("token_embd", vocabulary, width)
    for layer in range(layers):
        at = f"blk.{layer}"
        vector(f"{at}.attn_norm.weight", width, 1)
        sizes = (heads * head_dim, kv_heads * head_dim, kv_heads * value_dim)
        parts = tuple(zip(("attn_q", "attn_k", "attn_v"), sizes, strict=True))
        for part, rows in (("attn_qkv", sum(sizes)),) if fused else parts:
            matrix(f"{at}.{part}", rows, width)
            if bias:
                vector(f"{at}.{part}.bias", rows, 0)
        if qk_norm:
            vector(f"{at}.attn_q_norm.weight", head_dim, 1)
            vector(f"{at}.attn_k_norm.weight", head_dim, 1)
        matrix(f"{at}.attn_output", width, heads * value_dim)
        vector(f"{at}.ffn_norm.weight", width, 1)
        for part in ("_exps", *(("_shexp",) if shared_expert else ())) if experts else ("",):
            many = (experts,) if part == "_exps" else ()
            matrix(f"{at}.ffn_gate{part}", *many, hidden, width)
            matrix(f"{at}.ffn_up{part}", *many, hidden, width)
            matrix(f"{at}.ffn_down{part}", *many, width, hidden)
        if experts:
            matrix(f"{at}.ffn_gate_inp", experts, width)
            hyperparameters = {"expert_count": experts, "expert_used_count": 2, **hyperparameters}
        if experts and shared_expert:
            vector(f"{at}.ffn_gate_inp_shexp.weight", width, 0)
    vector("output_norm.weight", width, 1)
    if not tied:
        matrix("output", vocabulary, width)
    values: dict[str, Any] = {
        "vocab_size": vocabulary,
        "context_length": context,
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": hidden,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head_dim,
        "attention.value_length": value_dim,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": head_dim,
        "rope.freq_base": 10000.0,
    }
    values.update({key.replace("__", "."): value for key, value in hyperparameters.items()})
    return ModelDescriptor(
        name=f"toy-{architecture}",
        architecture=architecture,
        hyperparameters=Hyperparameters(values, prefix=architecture),
        tensors=tensors,
        tokenizer=toy_vocabulary(vocabulary),
        conventions=Conventions(rope_pairing=pairing),
    )


def toy_vocabulary(size: int = 512) -> TokenizerSpec:
    """Returns a vocabulary of the kind `llama`: unknown, bos, eos, the 256 bytes, then invented words."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [f"▁t{index}" for index in range(size - len(words))]
    types = np.array([2, 3, 3] + [6] * 256 + [1] * (size - 259), dtype=np.int32)
    return TokenizerSpec(
        kind="llama",
        tokens=words,
        scores=-np.arange(size, dtype=np.float32),
        types=types,
        special_ids={"unknown": 0, "bos": 1, "eos": 2},
        end_ids=frozenset({2}),
        add_bos=True,
    )
