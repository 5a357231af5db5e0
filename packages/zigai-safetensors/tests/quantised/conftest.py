"""Parts of quantised weights with random contents, and their values by loops over the descriptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.tensors import TensorInfo
from zigai_safetensors import SafetensorsFormat

Array = np.ndarray[Any, Any]
UP = "model.layers.0.up"


@dataclass
class Case:
    """The parts of a weight by their names after the module's, and what must come out."""

    config: dict[str, Any]
    parts: dict[str, Any]
    kind: str
    values: Array
    bound: Array | float = 0.0


def bits_of_bf16(value: float) -> int:
    """The BF16 nearest to a float32, the even one of two: found by trying both neighbours."""
    low = int(np.float32(value).view(np.uint32)) >> 16
    at = [float(np.uint32(bits << 16).view(np.float32)) for bits in (low, low + 1)]
    below, above = abs(value - at[0]), abs(at[1] - value)
    return low if below < above or (below == above and low % 2 == 0) else low + 1


def bf16(array: Array) -> tuple[str, Array]:
    """The array in BF16, as it is stored."""
    flat = [bits_of_bf16(float(value)) for value in np.asarray(array, np.float32).reshape(-1)]
    return "BF16", np.array(flat, "<u2").reshape(array.shape)


def of_bf16(bits: Array) -> Array:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def e4m3(byte: int) -> float:
    sign, exponent, mantissa = -1.0 if byte >> 7 else 1.0, byte >> 3 & 15, byte & 7
    return sign * (mantissa * 2.0**-9 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def float8_bytes(chance: np.random.Generator, shape: tuple[int, ...]) -> Array:
    found = chance.integers(0, 256, shape).astype(np.uint8)
    found[found & 127 == 127] = 1  # no NaN
    return found


def float8_values(weight: Array, scale: Callable[[int, int], float]) -> Array:
    out = np.empty(weight.shape, np.float32)
    for o in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            exact = np.float32(e4m3(int(weight[o, i]))) * np.float32(scale(o, i))
            out[o, i] = np.uint32(bits_of_bf16(float(exact)) << 16).view(np.float32)
    return out


def place(words: Array, row: int, column: int, at: int, bits: int) -> int:
    """Integer number `at` of a word, from its lowest bits on."""
    return int(words[row, column]) >> at * bits & (1 << bits) - 1


class Layouts:
    """Makes cases. All take the number of outputs and inputs."""

    def __init__(self, seed: int = 1) -> None:
        self.chance = np.random.default_rng(seed)

    def words(self, *shape: int) -> Array:
        return self.chance.integers(0, 1 << 32, shape, np.uint32).view("<i4")

    def scales(self, *shape: int) -> Array:
        return self.chance.uniform(0.001, 0.05, shape).astype("<f2")

    def fp8(self, o: int, i: int, block: tuple[int, int] | None, kind: str = "F32") -> Case:
        weight = float8_bytes(self.chance, (o, i))
        shape = (1,) if block is None else (-(-o // block[0]), -(-i // block[1]))
        scale = self.chance.uniform(1e-4, 1e-3, shape).astype("<f4")
        stored: Any = scale
        if kind == "BF16":
            stored = bf16(scale)
            scale = of_bf16(stored[1])
        elif kind == "F16":
            stored = scale.astype("<f2")
            scale = stored.astype(np.float32)

        def of(row: int, column: int) -> float:
            return float(scale[0] if block is None else scale[row // block[0], column // block[1]])

        config = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}
        if block is not None:
            config["weight_block_size"] = [*block]
        parts = {"weight": ("F8_E4M3", weight), "weight_scale_inv": stored}
        return Case(config, parts, "BF16", float8_values(weight, of))

    def mxfp4(self, *shape: int) -> Case:
        *rows, i = shape
        blocks = self.chance.integers(0, 256, (*rows, i // 32, 16)).astype(np.uint8)
        scales = self.chance.integers(100, 140, (*rows, i // 32)).astype(np.uint8)
        sizes = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
        values = np.empty(shape, np.float32)
        for at in np.ndindex(*rows):
            for j in range(i):
                byte = int(blocks[at][j // 32, j % 32 // 2])
                four = byte >> 4 if j % 2 else byte & 15
                size = sizes[four & 7] * 2.0 ** (int(scales[at][j // 32]) - 127)
                values[(*at, j)] = -size if four & 8 else size
        return Case({"quant_method": "mxfp4"}, {"_blocks": blocks, "_scales": scales}, "MXFP4", values)

    def _integers(self, q: Array, z: Array, s: Array, group: int) -> tuple[Array, Array]:
        """The values (q - z) * s, and the bound on the error of Q4_1."""
        values, bound = np.empty(q.shape, np.float32), np.empty(q.shape, np.float32)
        for o in range(q.shape[0]):
            for i in range(q.shape[1]):
                zero, scale = int(z[o, i // group]), np.float32(s[o, i // group])
                values[o, i] = np.float32(int(q[o, i]) - zero) * scale
                bound[o, i] = zero * float(scale) * 2.0**-11 * (1 + 2.0**-10) + 2.0**-22 * 16 * float(scale)
        return values, bound

    def awq(self, o: int, i: int, group: int, middle: bool = False) -> Case:
        size = i if group == -1 else group
        groups = -(-i // size)
        qweight, scales = self.words(i, o // 8), self.scales(groups, o)
        qzeros = (
            np.full((groups, o // 8), 0x88888888 - (1 << 32), "<i4") if middle else self.words(groups, o // 8)
        )
        order = [0, 2, 4, 6, 1, 3, 5, 7]
        q, z = np.empty((o, i), int), np.empty((o, groups), int)
        for row in range(o):
            at = order.index(row % 8)
            for column in range(i):
                q[row, column] = place(qweight, column, row // 8, at, 4)
            for column in range(groups):
                z[row, column] = place(qzeros, column, row // 8, at, 4)
        values, bound = self._integers(q, z, scales.T, size)
        config = {
            "quant_method": "awq",
            "bits": 4,
            "group_size": group,
            "zero_point": True,
            "version": "gemm",
        }
        parts = {"qweight": qweight, "qzeros": qzeros, "scales": scales}
        return Case(config, parts, "Q4_0" if middle else "Q4_1", values, 0.0 if middle else bound)

    def gptq(self, o: int, i: int, group: int, bits: int = 4, middle: bool = False, v2: bool = False) -> Case:
        size = i if group == -1 else group
        groups, per = -(-i // size), 32 // bits
        qweight, scales = self.words(i // per, o), self.scales(groups, o)
        if middle:
            points = np.full((groups, o), 1 << (bits - 1))
        else:
            points = self.chance.integers(0 if v2 else 1, 1 << bits, (groups, o))
        qzeros = np.zeros((groups, o // per), np.uint32)
        for column in range(o):
            for row in range(groups):
                stored = int(points[row, column]) - (0 if v2 else 1)
                qzeros[row, column // per] |= np.uint32(stored << column % per * bits)
        q = np.empty((o, i), int)
        for row in range(o):
            for column in range(i):
                q[row, column] = place(qweight, column // per, row, column % per, bits)
        values, bound = self._integers(q, points.T, scales.T, size)
        config = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": False, "sym": middle}
        if v2:
            config["checkpoint_format"] = "gptq_v2"
        parts = {"qweight": qweight, "qzeros": qzeros.view("<i4"), "scales": scales}
        parts["g_idx"] = np.array([column // size for column in range(i)], "<i4")
        kind = "Q8_0" if bits == 8 else "Q4_0" if middle else "Q4_1"
        return Case(config, parts, kind, values, 0.0 if middle else bound)

    def packed(self, o: int, i: int, group: int, bits: int = 4, points: str = "none") -> Case:
        """`points` are none, in the middle, or other. Scales are BF16."""
        size = i if group == -1 else group
        groups, per = -(-i // size), 32 // bits
        packed = self.words(o, i // per)
        kind, scale_bits = bf16(self.chance.uniform(0.001, 0.05, (o, groups)))
        q, z = np.empty((o, i), int), np.full((o, groups), 1 << (bits - 1))
        for row in range(o):
            for column in range(i):
                q[row, column] = place(packed, row, column // per, column % per, bits)
        parts = {"weight_packed": packed, "weight_scale": (kind, scale_bits)}
        if points != "none":
            if points == "other":
                z = self.chance.integers(0, 1 << bits, (o, groups))
            stored = np.zeros((-(-o // per), groups), np.uint32)
            for row in range(o):
                for column in range(groups):
                    stored[row // per, column] |= np.uint32(int(z[row, column]) << row % per * bits)
            parts["weight_zero_point"] = stored.view("<i4")
        parts["weight_shape"] = np.array([o, i], "<i8")
        values, bound = self._integers(q, z, of_bf16(scale_bits), size)
        exact = points != "other"
        weights = {"num_bits": bits, "type": "int", "symmetric": points == "none", "dynamic": False}
        weights |= {"strategy": "channel"} if group == -1 else {"strategy": "group", "group_size": group}
        target = "Q8_0" if bits == 8 else "Q4_0" if exact else "Q4_1"
        return Case(compressed("pack-quantized", weights), parts, target, values, 0.0 if exact else bound)

    def float8(self, o: int, i: int, strategy: str, block: tuple[int, int] = (1, 1)) -> Case:
        weight = float8_bytes(self.chance, (o, i))
        shape = {"tensor": (1,), "channel": (o, 1), "block": (-(-o // block[0]), -(-i // block[1]))}[strategy]
        kind, bits = bf16(self.chance.uniform(1e-4, 1e-3, shape))
        scale = of_bf16(bits)

        def of(row: int, column: int) -> float:
            if strategy == "block":
                return float(scale[row // block[0], column // block[1]])
            return float(scale[row, 0] if strategy == "channel" else scale[0])

        weights: dict[str, Any] = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": strategy}
        if strategy == "block":
            weights["block_structure"] = [*block]
        parts = {"weight": ("F8_E4M3", weight), "weight_scale": (kind, bits)}
        return Case(compressed("float-quantized", weights), parts, "BF16", float8_values(weight, of))


def compressed(layout: str, *weights: dict[str, Any]) -> dict[str, Any]:
    groups = {
        f"group_{number}": {"targets": ["Linear"], "weights": each, "input_activations": None}
        for number, each in enumerate(weights)
    }
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ["lm_head", "re:.*visual.*"],
    }


class Stored:
    """Writes folders of the toy family with a quantised weight in the place of `UP`."""

    def __init__(self, folder: Callable[..., Path], make: Any) -> None:
        self._folder = folder
        self._plain = {name: array for name, array in make.tensors.items() if not name.startswith(UP)}

    def write(self, case: Case, more: dict[str, Any] | None = None, **changed: Any) -> Path:
        """Keywords are other values of quantization_config. A part's name may be one that `more` gives."""
        parts = {
            UP.replace(".up", ".experts.up") + part if part.startswith("_") else f"{UP}.{part}": tensor
            for part, tensor in case.parts.items()
        }
        config = {**case.config, **changed}
        return self._folder({**self._plain, **parts, **(more or {})}, quantization_config=config)

    def read(self, case: Case, more: dict[str, Any] | None = None, **changed: Any) -> TensorInfo:
        """The tensor that the parts become."""
        tensors = SafetensorsFormat().read(self.write(case, more, **changed)).tensors
        name = "ffn_up_exps" if "_blocks" in case.parts else "ffn_up"
        assert len(tensors) == 4 if name == "ffn_up" else 5
        return tensors[f"blk.0.{name}.weight"]


@pytest.fixture
def layouts() -> Layouts:
    return Layouts()


@pytest.fixture
def stored(folder: Callable[..., Path], make: Any) -> Stored:
    return Stored(folder, make)
