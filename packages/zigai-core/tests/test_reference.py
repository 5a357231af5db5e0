"""The numpy backend against the conformance suite and against a decoder in plain float64 loops."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest

from zigai_core.contracts.dtypes import DTYPES, DType
from zigai_core.contracts.errors import Cancelled, UnsupportedError
from zigai_core.contracts.options import CompileOptions
from zigai_core.engine.direct import DirectRunner, Part
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.ops.reference_states import after_q8_0
from zigai_core.testing.backend import BackendConformance, logits_of, runner
from zigai_core.testing.toys import random_tensor, toy_decoder


class TestNumpyBackend(BackendConformance):
    backend = NumpyBackend()
    tolerance = 1e-5


def decoder_in_float64(model, tokens: list[int]) -> np.ndarray:
    """Returns the logits of a decoder, computed head by head in float64, without cache, graph or batches."""
    hp = model.hyperparameters
    heads, kv_heads = hp["attention.head_count"], hp["attention.head_count_kv"]
    size, window = hp["attention.key_length"], hp.get("attention.sliding_window", 10**9)
    w = {name: tensor.to_float32().astype(np.float64) for name, tensor in model.tensors.items()}

    def norm(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight

    def rotate(x):
        for position in range(len(x)):
            for pair in range(size // 2):
                angle = position * 10000.0 ** (-2 * pair / size)
                rotated = complex(x[position, 2 * pair], x[position, 2 * pair + 1]) * np.exp(1j * angle)
                x[position, 2 * pair], x[position, 2 * pair + 1] = rotated.real, rotated.imag
        return x

    x = w["token_embd.weight"][tokens]
    for layer in range(hp["block_count"]):
        at = f"blk.{layer}."
        h = norm(x, w[at + "attn_norm.weight"])
        q, k, v = (h @ w[f"{at}attn_{part}.weight"].T for part in "qkv")
        out = np.zeros_like(q)
        for head in range(heads):
            kv = head // (heads // kv_heads)
            own, shared = slice(head * size, (head + 1) * size), slice(kv * size, (kv + 1) * size)
            query, key = rotate(q[:, own].copy()), rotate(k[:, shared].copy())
            for i in range(len(tokens)):
                seen = range(max(0, i - window + 1), i + 1)
                scores = np.array([query[i] @ key[j] for j in seen]) / np.sqrt(size)
                share = np.exp(scores - scores.max())
                out[i, own] = (share / share.sum()) @ v[list(seen), shared]
        x = x + out @ w[at + "attn_output.weight"].T
        h = norm(x, w[at + "ffn_norm.weight"])
        gate = h @ w[at + "ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w[at + "ffn_up.weight"].T)) @ w[at + "ffn_down.weight"].T
    return norm(x, w["output_norm.weight"]) @ w["output.weight"].T


@pytest.mark.parametrize("window", [None, 5])
def test_the_logits_of_a_decoder_equal_those_of_float64_loops(window: int | None) -> None:
    model = toy_decoder(**({"attention__sliding_window": window} if window else {}))
    tokens = [int(token) for token in np.random.RandomState(0).randint(0, 512, 24)]
    at = runner(NumpyBackend(), model)
    np.testing.assert_allclose(
        logits_of(at, at.new_sequence(), tokens), decoder_in_float64(model, tokens), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("dtype", ["Q4_0", "Q8_0", "F16", "BF16"])
def test_weights_dequantised_at_every_use_give_the_same_logits_as_at_load(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy_decoder(dtype=dtype)
    tokens = [5, 4, 3]
    kept = runner(NumpyBackend(), model)
    monkeypatch.setattr("zigai_core.ops.reference.KEEP_BYTES", 0)
    fresh = runner(NumpyBackend(), model)
    assert {line.packing for line in kept.program.report().tensors} == {"dequantised at load"}
    assert {line.packing for line in fresh.program.report().tensors} == {"dequantised at every use"}
    np.testing.assert_array_equal(
        logits_of(kept, kept.new_sequence(), tokens), logits_of(fresh, fresh.new_sequence(), tokens)
    )


def test_a_q8_0_cache_rounds_as_the_storage_type_q8_0() -> None:
    x = np.random.RandomState(3).standard_normal((5, 2, 80)).astype(np.float32)
    x[0, 0, 32:64] = 0
    y = after_q8_0(x)
    for values, rounded in zip(x.reshape(-1, 80), y.reshape(-1, 80), strict=True):
        for part in (slice(0, 32), slice(32, 64), slice(64, 80)):
            most = np.abs(values[part]).max()
            np.testing.assert_allclose(rounded[part], values[part], rtol=0, atol=0.56 / 127 * most)
            stored = np.zeros(34, np.uint8)
            stored[:2] = np.array([most / np.float32(127)], np.float16).view(np.uint8)
            whole = np.rint(values[part] * (np.float32(127) / most if most else most))
            stored[2 : 2 + len(whole)] = whole.astype(np.int8).view(np.uint8)
            read = DTYPES["Q8_0"].to_float32(stored, (32,))
            np.testing.assert_array_equal(rounded[part], read[: len(whole)])
    assert np.isnan(after_q8_0(np.array([1, np.inf, *[0] * 30, 2], np.float32))[:32]).all()


def test_the_logits_with_a_q8_0_cache_are_close_to_those_with_f32() -> None:
    model, tokens = toy_decoder(), [int(token) for token in np.random.RandomState(0).randint(0, 512, 24)]
    plan = runner(NumpyBackend(), model).program
    logits = []
    for kv_dtype in ("F32", "Q8_0"):
        options = dataclasses.replace(plan.options, kv_dtype=kv_dtype)
        at = DirectRunner(NumpyBackend().compile(plan.graph, model.tensors, options))
        logits.append(logits_of(at, at.new_sequence(), tokens))
    assert at.program.report().backend == "numpy"
    assert at.program.report().summary == "numpy, float32, Q8_0 cache"
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.1


def test_a_storage_type_without_a_dequantiser_is_refused_by_name() -> None:
    model = toy_decoder()
    odd = DType("IQ9_Z", 32, 8, None)
    tensor = dataclasses.replace(
        random_tensor("output.weight", (512, 64), "F32", np.random.RandomState(0), 1.0), dtype=odd
    )
    changed = dataclasses.replace(model, tensors={**model.tensors, "output.weight": tensor})
    with pytest.raises(UnsupportedError, match=r"dequantise IQ9_Z \(output\.weight\)"):
        runner(NumpyBackend(), changed)


def test_progress_ascends_to_all_bytes() -> None:
    model = toy_decoder()
    calls: list[tuple[int, int]] = []
    plan = runner(NumpyBackend(), model).program
    NumpyBackend().compile(plan.graph, model.tensors, plan.options, lambda *call: calls.append(call))
    assert calls[-1][0] == calls[-1][1] == model.nbytes
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_cancel_stops_every_step_until_resume() -> None:
    at = runner(NumpyBackend(), toy_decoder())
    sequence = at.new_sequence()
    thread = threading.Thread(target=at.cancel)
    thread.start()
    thread.join()
    for _ in range(2):
        with pytest.raises(Cancelled):
            at.run([Part(sequence, [1, 2, 3])])
    assert sequence.length == 0
    at.resume()
    at.run([Part(sequence, [1, 2, 3])])
    assert sequence.length == 3


def test_random_tensors_of_every_storage_type_have_about_the_given_deviation() -> None:
    for name in (
        "F32",
        "F16",
        "BF16",
        "Q4_0",
        "Q4_1",
        "Q5_0",
        "Q5_1",
        "Q8_0",
        *(f"Q{n}_K" for n in range(2, 7)),
    ):
        values = random_tensor("t", (64, 256), DTYPES[name], np.random.RandomState(1), 0.5).to_float32()
        assert 0.2 < values.std() < 1.0, name
        assert abs(values.mean()) < 0.25, name


def test_an_unknown_storage_type_of_the_cache_is_refused() -> None:
    model = toy_decoder()
    graph = decoder(model, context=64, pairing="half")
    with pytest.raises(UnsupportedError, match="F16, F32, Q8_0, not Q4_0"):
        NumpyBackend().compile(graph, model.tensors, CompileOptions(kv_dtype="Q4_0"))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize(
    "name", ["token_embd", "blk.0.attn_norm", "blk.0.attn_q", "blk.0.ffn_gate", "output"]
)
def test_damaged_weights_give_no_warning(name: str, value: float) -> None:
    model = toy_decoder()
    tensor = model.tensors[f"{name}.weight"]
    values = tensor.to_float32().copy()
    values.flat[::7] = value
    damaged = dataclasses.replace(tensor, data=values.view(np.uint8).reshape(-1))
    at = runner(NumpyBackend(), dataclasses.replace(model, tensors={**model.tensors, tensor.name: damaged}))
    logits_of(at, at.new_sequence(), [1, 2, 3])
