from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend
from zigai_kernels.memory import ALIGNMENT, Buffer, MemoryPlan, plan_memory


def check(buffers: list[Buffer], plan: MemoryPlan) -> None:
    for i, a in enumerate(buffers):
        start = plan.offsets[a.name]
        assert start % ALIGNMENT == 0
        assert start + a.nbytes <= plan.nbytes
        for b in buffers[:i]:
            apart = a.last < b.first or b.last < a.first
            other = plan.offsets[b.name]
            assert apart or start + a.nbytes <= other or other + b.nbytes <= start, (a, b)


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_values_with_overlapping_lifetimes_have_separate_memory(raw: list[tuple[int, int, int]]) -> None:
    buffers = [Buffer(str(i), size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(raw)]
    check(buffers, plan_memory(buffers))


def test_values_with_separate_lifetimes_share_memory() -> None:
    buffers = [Buffer(str(i), 1000, i, i) for i in range(10)]
    assert plan_memory(buffers).nbytes == 1024


def test_scratch_memory_does_not_grow_with_the_number_of_layers() -> None:
    sizes = []
    for layers in (2, 6):
        model = toy_decoder(layers=layers, dtype="Q8_0")
        program = NativeBackend().compile(
            decoder(model, context=64, pairing="half"), model.tensors, CompileOptions()
        )
        buffers = program._buffers()
        check(buffers, program.memory)
        alive = {buffer.name: range(buffer.first, buffer.last + 1) for buffer in buffers}
        for index, stage in enumerate(program.lowered.stages):  # no value is overwritten before its last use
            for record in stage.records:
                names = {record.x, record.y, record.output} & alive.keys()
                assert all(index in alive[str(name)] for name in names)
        sizes.append(program.memory.nbytes)
    assert sizes[0] == sizes[1]
