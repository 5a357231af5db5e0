"""The header of a checkpoint, and where its tensors are.

Source: llama2.c (https://github.com/karpathy/llama2.c), `Config` and `memory_map_weights` of run.c,
`legacy_export` of export.py. Layout: seven int32, little-endian, then float32 tensors without gaps. A tensor
of layers is stacked: all layers of `wq`, then all of `wk`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zigai_core.contracts.errors import FormatError

HEADER_BYTES = 28
LAYERS, DIMENSION, CONTEXT, VOCABULARY = 1 << 10, 1 << 16, 1 << 20, 1 << 18
"""Largest plausible values, far above those of every known checkpoint."""


@dataclass(frozen=True)
class Header:
    """The numbers of a checkpoint, with llama2.c's names. `shared`: the classifier is the embedding."""

    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    shared: bool

    @classmethod
    def parse(cls, path: Path, content: bytes, size: int) -> Header:
        """Returns the header in `content`, the first bytes of a file of `size` bytes.

        Raises `FormatError`, with offset and field, for numbers that are out of range, do not divide each
        other, or belong to a file of another size.
        """
        if len(content) < HEADER_BYTES:
            raise FormatError(
                f"{path}: byte 0: the header takes {HEADER_BYTES} bytes, the file has {len(content)}"
            )
        numbers = struct.unpack("<7i", content[:HEADER_BYTES])
        dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len = numbers
        shared, vocab_size = vocab_size > 0, abs(vocab_size)
        for index, (name, value, limit) in enumerate(
            (
                ("dim", dim, DIMENSION),
                ("hidden_dim", hidden_dim, 16 * DIMENSION),
                ("n_layers", n_layers, LAYERS),
                ("n_heads", n_heads, dim),
                ("n_kv_heads", n_kv_heads, n_heads),
                ("the size of vocab_size", vocab_size, VOCABULARY),
                ("seq_len", seq_len, CONTEXT),
            )
        ):
            if not 1 <= value <= limit:
                raise FormatError(
                    f"{path}: byte {4 * index}: {name} is {value}, but must be within 1..{limit}: this is "
                    "no checkpoint of llama2.c in version 0"
                )
        if dim % n_heads or (dim // n_heads) % 2 or n_heads % n_kv_heads:
            raise FormatError(
                f"{path}: byte 12: {n_heads} heads and {n_kv_heads} heads of keys do not divide a dim of "
                f"{dim} into heads of an even size"
            )
        header = cls(dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len, shared)
        if size != header.nbytes:
            raise FormatError(
                f"{path}: a checkpoint with this header has {header.nbytes} bytes, but the file has {size}: "
                "it is truncated, or of another version; download or export it again"
            )
        return header

    @property
    def head_size(self) -> int:
        """Elements of a head."""
        return self.dim // self.n_heads

    @property
    def nbytes(self) -> int:
        """Size of the whole file in bytes."""
        return HEADER_BYTES + 4 * sum(count * math.prod(shape) for _, count, shape in self._parts())

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...], int]]:
        """Yields name, shape and first byte of each tensor, with GGUF's names."""
        begin = HEADER_BYTES
        for name, count, shape in self._parts():
            for index in range(count):
                if name:
                    yield name.format(index), shape, begin
                begin += 4 * math.prod(shape)

    def _parts(self) -> Iterator[tuple[str, int, tuple[int, ...]]]:
        """Name, number and shape of what follows the header; what is skipped has no name."""
        dim, hidden, layers = self.dim, self.hidden_dim, self.n_layers
        kv_dim = self.n_kv_heads * self.head_size
        yield "token_embd.weight", 1, (self.vocab_size, dim)
        yield "blk.{}.attn_norm.weight", layers, (dim,)
        yield "blk.{}.attn_q.weight", layers, (dim, dim)
        yield "blk.{}.attn_k.weight", layers, (kv_dim, dim)
        yield "blk.{}.attn_v.weight", layers, (kv_dim, dim)
        yield "blk.{}.attn_output.weight", layers, (dim, dim)
        yield "blk.{}.ffn_norm.weight", layers, (dim,)
        yield "blk.{}.ffn_gate.weight", layers, (hidden, dim)  # w1
        yield "blk.{}.ffn_down.weight", layers, (dim, hidden)  # w2
        yield "blk.{}.ffn_up.weight", layers, (hidden, dim)  # w3
        yield "output_norm.weight", 1, (dim,)
        yield "", 2, (self.seq_len, self.head_size // 2)  # freq_cis_real, freq_cis_imag
        if not self.shared:
            yield "output.weight", 1, (self.vocab_size, dim)
