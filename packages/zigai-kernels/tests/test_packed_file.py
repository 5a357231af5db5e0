"""Files of packed weights."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.descriptor import ComputedTensor, ModelDescriptor, TensorInfo
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.options import CompileOptions
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend, NativeProgram


def toy(state: int = 0, **changes: Any) -> ModelDescriptor:
    """A toy whose tensors have an identity."""
    model = toy_decoder(**changes)
    tensors = {
        name: dataclasses.replace(tensor, identity=f"toy.gguf {state} {name}")
        for name, tensor in model.tensors.items()
    }
    return dataclasses.replace(model, tensors=tensors)


def compiled(folder: Path | None, model: ModelDescriptor | None = None) -> NativeProgram:
    model = model or toy()
    options = CompileOptions(context=64, batch=16, page=8, threads=2)
    graph = decoder(model, context=64, pairing="adjacent")
    return NativeBackend(packed_cache=folder).compile(graph, model.tensors, options)


def logits(program: NativeProgram, tools: Any) -> Any:
    return tools.bench(program).run(tools.batch(range(16), tables=[[0, 1]]))["logits"]


def the_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("dtype", ["F32", "F64"])  # F64 is converted
def test_the_second_start_maps_the_file_of_the_first(tools: Any, dtype: str, tmp_path: Path) -> None:
    folder, model = tmp_path / "made" / "when needed", toy(dtype=dtype)
    expected = logits(compiled(None, model), tools)
    np.testing.assert_array_equal(logits(compiled(folder, model), tools), expected)
    written = the_file(folder)
    before = written.stat()
    again = compiled(folder, model)
    np.testing.assert_array_equal(logits(again, tools), expected)
    assert the_file(folder) == written
    assert written.stat().st_mtime_ns == before.st_mtime_ns
    assert str(folder) in again.report().summary
    np.testing.assert_array_equal(logits(again, tools), expected)


def test_progress_reaches_its_end_with_a_file_and_without(tmp_path: Path) -> None:
    model, options = toy(), CompileOptions(context=64, batch=16, page=8)
    for _ in range(2):
        seen = list[tuple[int, int]]()

        def progress(done: int, total: int, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((done, total))

        NativeBackend(packed_cache=tmp_path).compile(
            decoder(model, context=64, pairing="adjacent"), model.tensors, options, progress
        )
        assert seen[-1][0] == seen[-1][1] > 0


def test_a_changed_model_gets_another_file(tools: Any, tmp_path: Path) -> None:
    compiled(tmp_path)
    changed = toy(1, seed=1)
    np.testing.assert_array_equal(
        logits(compiled(tmp_path, changed), tools), logits(compiled(None, changed), tools)
    )
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["shorter", "longer", "head", "first panel", "empty"])
def test_a_damaged_file_is_logged_and_written_again(
    damage: str, tools: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(compiled(tmp_path), tools)
    path = the_file(tmp_path)
    whole = path.read_bytes()
    start = len(whole) // 4096 and next(
        at for at in range(4096, len(whole), 4096) if any(whole[at : at + 64])
    )
    path.write_bytes(
        {
            "shorter": whole[:-1],
            "longer": whole + b"\0",
            "head": whole[:20] + bytes([whole[20] ^ 1]) + whole[21:],
            "first panel": whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :],
            "empty": b"",
        }[damage]
    )
    with caplog.at_level(logging.WARNING, "zigai"):
        np.testing.assert_array_equal(logits(compiled(tmp_path), tools), expected)
    assert f"{path}: " in caplog.text
    assert "packing the weights again" in caplog.text
    assert path.read_bytes() == whole


def test_a_changed_byte_anywhere_is_detected(
    tools: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(compiled(tmp_path), tools)
    path = the_file(tmp_path)
    whole = path.read_bytes()
    head = whole.index(b"\0", whole.index(b"layout"))
    panels = 4096 * -(-head // 4096)
    sums = 8 * -(-(len(whole) - panels) // (1 << 20))
    spread = range(panels, len(whole) - sums, (len(whole) - sums - panels) // 13)
    edges = (0, head - 1, head, panels - 1, len(whole) - sums - 1, len(whole) - sums, len(whole) - 1)
    for at in (*edges, *spread):
        for flip in (1, 0xFF):
            caplog.clear()
            damaged = bytearray(whole)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            with caplog.at_level(logging.WARNING, "zigai"):
                np.testing.assert_array_equal(logits(compiled(tmp_path), tools), expected)
            assert caplog.text.count("packing the weights again") == 1, at
            assert path.read_bytes() == whole


def test_a_page_of_zeros_is_detected(tools: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = toy(width=512)
    expected = logits(compiled(tmp_path, model), tools)
    path = the_file(tmp_path)
    whole = path.read_bytes()
    assert len(whole) > 2 << 20
    torn = (1 << 20) + 8192
    path.write_bytes(whole[:torn] + bytes(4096) + whole[torn + 4096 :])
    with caplog.at_level(logging.WARNING, "zigai"):
        np.testing.assert_array_equal(logits(compiled(tmp_path, model), tools), expected)
    assert "it is damaged near byte " in caplog.text
    assert path.read_bytes() == whole


def test_a_replaced_file_stays_valid_for_programs_that_map_it(tools: Any, tmp_path: Path) -> None:
    program = compiled(tmp_path)
    expected = logits(program, tools)
    path = the_file(tmp_path)
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)
    np.testing.assert_array_equal(logits(program, tools), expected)


def test_a_pipe_in_place_of_the_file_is_logged_and_replaced(
    tools: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(compiled(tmp_path), tools)
    path = the_file(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with caplog.at_level(logging.WARNING, "zigai"):
        np.testing.assert_array_equal(logits(compiled(tmp_path), tools), expected)
    assert "it is not a regular file" in caplog.text
    assert path.is_file()


def test_a_file_that_cannot_be_read_is_logged(
    tools: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(compiled(tmp_path), tools)
    path = the_file(tmp_path)
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.WARNING, "zigai"):
        np.testing.assert_array_equal(logits(compiled(tmp_path), tools), expected)
    assert "cannot be read" in caplog.text
    assert "cannot be written" in caplog.text


def test_a_folder_that_cannot_be_created_is_logged_and_the_weights_stay_in_memory(
    tools: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(compiled(tmp_path / "folder"), tools)
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "zigai"):
        np.testing.assert_array_equal(logits(compiled(tmp_path / "file" / "folder"), tools), expected)
    assert re.search(r"packed_cache: .*cannot be written: .*name another folder.*stay in memory", caplog.text)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system has no posix_fallocate")
def test_a_full_disk_is_logged_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with caplog.at_level(logging.WARNING, "zigai"):
        compiled(tmp_path)
    assert "No space left on device; name another folder, or none" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_weight_that_cannot_be_computed_is_the_error_and_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = toy()
    asked = list[int]()

    def compute(start: int, stop: int) -> Any:
        asked.append(start)
        raise UnsupportedError("a scale is too large")

    name = "blk.0.ffn_up.weight"
    source = model.tensors[name]
    broken = ComputedTensor(name, source.shape, source.dtype, [source], compute, "broken")
    with pytest.raises(UnsupportedError, match=r"^a scale is too large$"):
        compiled(tmp_path, dataclasses.replace(model, tensors={**model.tensors, name: broken}))
    assert not caplog.records
    assert len(asked) <= 2  # the weights are not packed again


@pytest.mark.parametrize("cached", [False, True])
def test_what_weights_are_computed_from_is_released(tmp_path: Path, cached: bool) -> None:
    model = toy()
    released = list[str]()

    def computed(tensor: TensorInfo) -> TensorInfo:
        source = dataclasses.replace(
            tensor, release=lambda: released.append(tensor.name), identity=tensor.name
        )
        return ComputedTensor(tensor.name, tensor.shape, tensor.dtype, [source], source.row_data, "the same")

    matrices = {name: computed(tensor) for name, tensor in model.tensors.items() if len(tensor.shape) > 1}
    changed = dataclasses.replace(model, tensors={**model.tensors, **matrices})
    compiled(tmp_path if cached else None, changed)
    assert set(released) == set(matrices)
    released.clear()
    compiled(tmp_path if cached else None, changed)
    assert set(released) == set(matrices)


def test_an_interrupt_during_writing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compiled(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_tensor_without_an_identity_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="has no identity"):
        compiled(tmp_path, toy_decoder())


ANOTHER = """
import dataclasses, sys
from pathlib import Path
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_core.contracts.options import CompileOptions
from zigai_kernels import NativeBackend

model = toy_decoder(width=1024)
tensors = {name: dataclasses.replace(t, identity=name) for name, t in model.tensors.items()}
graph = decoder(model, context=64, pairing="adjacent")
sys.stdin.readline()
options = CompileOptions(context=64, batch=16)
program = NativeBackend(packed_cache=Path(sys.argv[1])).compile(graph, tensors, options)
print(hash(b"".join(weights.tobytes() for weights in program.weights.values())))
"""


def test_processes_that_write_the_same_file_at_once_all_succeed(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ANOTHER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        for _ in range(3)
    ]
    answers = [process.communicate("now\n", timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert answers[0]
    assert len(set(answers)) == 1
    the_file(tmp_path)
