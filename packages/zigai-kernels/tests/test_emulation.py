"""The emulated AVX-512 instructions, compared with those of a CPU that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cffi import FFI

import zigai_kernels.backend
from zigai_core.testing.backend import logits_of, runner
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend
from zigai_kernels.dispatch import supported
from zigai_kernels.storage import STORAGE

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.skipif("avx512" not in supported(), reason="this CPU has no AVX-512 to compare with"),
]
NATIVE = Path(__file__).resolve().parents[1] / "native"
PROBE = """
#include <stdint.h>
#include <string.h>
#include "simd_avx512.h"
#define FLOATS(f) (vf_store((float *)out, f), out = alike(out, 16))
#define INTEGERS(i) (vi_store(out, i), out += 64)
#define NUMBER(x) (*(float *)out = x, out = alike(out, 1))

/* Replaces all NaNs by one: which NaN the sum of two is depends on the compiler's order of operands. */
static char *alike(char *out, int count) {
    uint32_t *bits = (uint32_t *)out;
    for (int i = 0; i < count; i++)
        if ((bits[i] & 0x7fffffff) > 0x7f800000) bits[i] = 0x7fc00000;
    return out + count * 4;
}

/* Writes the results of every primitive on three vectors of 64 bytes. Returns the number of bytes. */
int64_t probe(const char *p, const char *q, const char *r, char *out) {
    const char *start = out;
    const vf a = vf_load((const float *)p), b = vf_load((const float *)q), c = vf_load((const float *)r);
    const vi x = vi_load(p), y = vi_load(q), z = vi_load(r);
    FLOATS(vf_set(vf_sum(a))), FLOATS(vf_zero()), FLOATS(vf_add(a, b)), FLOATS(vf_sub(a, b));
    FLOATS(vf_mul(a, b)), FLOATS(vf_div(a, b)), FLOATS(vf_fma(a, b, c)), FLOATS(vf_max(a, b));
    FLOATS(vf_min(a, b)), FLOATS(vf_abs(a)), FLOATS(vf_below(a, b, c, a)), FLOATS(vf_round(a));
    FLOATS(vf_pow2(a)), FLOATS(vf_load_f16(p)), FLOATS(vf_load_i8(p)), FLOATS(vf_load_bf16(p));
    FLOATS(vf_from_vi(x)), FLOATS(vf_from_u8((const uint8_t *)p));
    NUMBER(vf_sum(a)), NUMBER(vf_peak(a));
    vf_store_f16(out, a), out += 32;
    INTEGERS(vi_zero()), INTEGERS(vi_set8(p[0])), INTEGERS(vi_spread(p)), INTEGERS(vi_and(x, y));
    INTEGERS(vi_or(x, y)), INTEGERS(vi_xor(x, y)), INTEGERS(vi_abs8(x)), INTEGERS(vi_add(x, y));
    for (int n = 0; n < 17; n++) INTEGERS(vi_left(x, n)), INTEGERS(vi_right(x, n));
    FLOATS(row_signed_scales((const uint8_t *)p)), FLOATS(row_scales((const uint8_t *)p)), FLOATS(ones());
    INTEGERS(add_pair_dot(z, x, y)), INTEGERS(dot_pairs(z, x, y)), INTEGERS(add_signed_dot(z, x, x, y, a));
    INTEGERS(vi_sub8(x, y)), INTEGERS(vi_mul8(x, y)), INTEGERS(vi_lookup(vi_table((const uint8_t *)p), y));
    INTEGERS(row_pairs((const uint8_t *)p)), INTEGERS(zero_sum());
    INTEGERS(below_zero(x, 4)), INTEGERS(below_zero(x, 12)), INTEGERS(below_zero(x, 128));
    FLOATS(plain(x)), FLOATS(scaled(x, a)), FLOATS(add_plain(a, x)), FLOATS(add_scaled(a, x, b));
    FLOATS(vt_from_vi(x)), FLOATS(vf_from_vt(a));
    return out - start;
}
"""


def test_every_emulated_primitive_equals_the_instruction_bitwise(
    native_build: ModuleType, compile_native: Callable[[str, FFI], ModuleType]
) -> None:
    sets = native_build.INSTRUCTION_SETS
    common = ["-O1", "-ffp-contract=off", "-fno-strict-aliasing", "-Wno-psabi"]
    probes = []
    for name, flags in (("real", sets["avx512"]), ("emulated", ["-DZG_EMULATE", *sets["avx2"]])):
        ffi = FFI()
        ffi.cdef("int64_t probe(const char *, const char *, const char *, char *);")
        compiler = [*common, *flags]
        ffi.set_source(f"_probe_{name}", PROBE, include_dirs=[str(NATIVE)], extra_compile_args=compiler)
        probes.append(compile_native(f"_probe_{name}", ffi))
    random = np.random.RandomState(3)
    extremes = np.array([0, 0x80, 0x7F, 0xFF, 1], np.uint8)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 65504, 1e-7, 1e38, 1e-40, 0.5, -1.5], np.float32)
    for turn in range(2000):
        inputs = [
            random.randint(0, 256, 64, np.uint8),
            random.choice(extremes, 64),
            random.choice(special, 16).view(np.uint8),
            (random.standard_normal(16) * 10).astype(np.float32).view(np.uint8),
        ]
        chosen = [inputs[random.randint(len(inputs))].tobytes() for _ in range(3)]
        written = []
        for probe in probes:
            out = probe.ffi.new("char[]", 8192)
            size = probe.lib.probe(*chosen, out)
            written.append(bytes(probe.ffi.buffer(out, size)))
        assert written[0] == written[1], f"turn {turn}"


@pytest.mark.parametrize("dtype", list(STORAGE))
def test_logits_of_the_emulated_module_equal_the_real_one_bitwise(
    emulated_avx512: ModuleType, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    model = toy_decoder(dtype=dtype, width=256, hidden=512, head_dim=32, heads=8, kv_heads=2)
    tokens = list(np.random.RandomState(9).randint(0, 512, 30))
    real = runner(NativeBackend("avx512"), model)
    monkeypatch.setattr(zigai_kernels.backend, "load", lambda name: emulated_avx512)
    emulated = runner(NativeBackend("avx512"), model)
    logits = [logits_of(at, at.new_sequence(), tokens) for at in (real, emulated)]
    np.testing.assert_array_equal(*logits)
