"""What a model's work asks of a machine, and so how fast the machine could do it at best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comparison.work import Job
from limits import Limits
from zigai_core.contracts.descriptor import ModelDescriptor

INT16_RATE = 0.5
"""Multiply-adds of int16 for one of int8: a vector holds half as many, and takes as long."""

CACHE_ELEMENT = 2
"""Bytes of an element of the KV cache: both systems keep it in float16."""


@dataclass(frozen=True)
class Demand:
    """What decoding a token reads and multiplies, attention's own arithmetic left out."""

    weight_bytes: int
    """Bytes of all weights but the rows of an embedding that is no output as well."""
    layer_elements: int
    """Multiply-adds of a token in the layers' matrices: their elements."""
    head_elements: int
    """Those of the output's matrix, for a token whose logits are wanted."""
    cache_bytes: int
    """Bytes of the KV cache for each token of context."""
    arithmetic: str
    """What the weights are multiplied in at best: `int8`, `int16` or `f32`."""
    file_bytes: int
    """Bytes of all tensors."""

    @classmethod
    def of(cls, model: ModelDescriptor) -> Demand:
        """The demand of a dense model, or of the experts that a token uses."""
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
        """The best that a figure can be, in its own unit; None where nothing physical bounds it.

        A step takes at least as long as reading what it needs, and as its multiply-adds. Rates are the best
        passes that were seen.
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
