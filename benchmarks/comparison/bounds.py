"""Bytes and multiply-adds that a model's work requires, and the bound on its speed that follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comparison.work import Job
from limits import Limits
from zigai_core.contracts.descriptor import ModelDescriptor

INT16_RATE = 0.5
"""Rate of int16 multiply-adds relative to int8: a vector holds half as many elements."""

CACHE_ELEMENT = 2
"""Bytes per element of the KV cache, which both systems store as float16."""


@dataclass(frozen=True)
class Demand:
    """Bytes read and multiply-adds to decode a token, without the arithmetic of attention."""

    weight_bytes: int
    """Bytes of all weights read per token: without an embedding that is not also the output matrix."""
    layer_elements: int
    """Multiply-adds per token in the matrices of the layers: their number of elements."""
    head_elements: int
    """Multiply-adds in the output matrix, for a token whose logits are computed."""
    cache_bytes: int
    """Bytes of the KV cache per token of context."""
    arithmetic: str
    """The fastest arithmetic that suits the storage type of most weights: `int8`, `int16` or `f32`."""
    file_bytes: int
    """Bytes of all tensors."""

    @classmethod
    def of(cls, model: ModelDescriptor) -> Demand:
        """The demand of a model; of experts, those that a token uses count."""
        numbers = model.hyperparameters
        layers = numbers.integer("block_count", minimum=1)
        heads = numbers.integers("attention.head_count", layers)
        kv_heads = numbers.integers("attention.head_count_kv", layers, heads[0])
        usual = numbers.integer("embedding_length") // max(1, heads[0])
        dims = sum(numbers.integer(f"attention.{part}_length", usual) for part in ("key", "value"))
        tied = "output.weight" not in model.tensors
        head = "token_embd.weight" if tied else "output.weight"
        count = numbers.integer("expert_count", 0)
        used = numbers.integer("expert_used_count", 0) / count if count else 1.0
        weight_bytes = layer_elements = 0.0
        stored: dict[str, int] = {}
        for name, tensor in model.tensors.items():
            if name == "token_embd.weight" and not tied:
                continue
            share = used if "_exps." in name else 1.0
            weight_bytes += share * tensor.nbytes
            if len(tensor.shape) > 1:
                stored[tensor.dtype.name] = stored.get(tensor.dtype.name, 0) + tensor.nbytes
                if name != head:
                    layer_elements += share * float(np.prod(tensor.shape, dtype=np.int64))
        most = max(stored, key=lambda name: stored[name])
        return cls(
            weight_bytes=int(weight_bytes),
            layer_elements=int(layer_elements),
            head_elements=int(np.prod(model.tensors[head].shape, dtype=np.int64)),
            cache_bytes=CACHE_ELEMENT * sum(kv_heads) * dims,
            arithmetic={"BF16": "int16", "F16": "int16", "F32": "f32"}.get(most, "int8"),
            file_bytes=model.nbytes,
        )

    def bound(self, job: Job, key: str, limits: Limits) -> float | None:
        """The physical bound on a figure, in its unit; None if it has none.

        A step takes at least as long as reading its bytes, and as its multiply-adds. Rates are those of the
        best passes measured.
        """
        reading = limits.read.best
        rate = limits.f32.best if self.arithmetic == "f32" else limits.int8.best
        rate *= INT16_RATE if self.arithmetic == "int16" else 1.0
        if key == "prompt_tps":
            sums = job.prompt * self.layer_elements + self.head_elements
            return job.prompt / max(self.weight_bytes / reading, sums / rate)
        if key == "generate_tps":
            context = job.depth + (job.generate + 1) / 2
            read = self.weight_bytes + job.sequences * context * self.cache_bytes
            sums = job.sequences * (self.layer_elements + self.head_elements)
            return job.sequences / max(read / reading, sums / rate)
        if key == "start_to_token_s":
            return self.weight_bytes / reading
        return float(self.file_bytes) if key == "peak_resident_bytes" else None
