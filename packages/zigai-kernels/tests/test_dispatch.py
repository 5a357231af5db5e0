from __future__ import annotations

import os
from pathlib import Path

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import MachineBackend
from zigai_core.ops.blocks import decoder
from zigai_core.testing.toys import toy_decoder
from zigai_kernels import NativeBackend, dispatch


def test_the_fastest_supported_instruction_set_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZIGAI_CPU", raising=False)
    assert dispatch.choose() == dispatch.supported()[-1]


def test_the_environment_overrides_the_default_and_an_argument_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZIGAI_CPU", "baseline")
    assert dispatch.choose() == "baseline"
    assert dispatch.choose(dispatch.supported()[-1]) == dispatch.supported()[-1]
    model = toy_decoder()
    program = NativeBackend().compile(
        decoder(model, context=64, pairing="half"), model.tensors, CompileOptions()
    )
    assert program.instruction_set == "baseline"


def test_an_unknown_instruction_set_is_an_error_that_lists_the_known_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZIGAI_CPU", "sse9")
    with pytest.raises(UnsupportedError, match="ZIGAI_CPU=sse9: not one of baseline, avx2, avx512"):
        dispatch.choose()


def test_an_instruction_set_that_the_cpu_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "supported", lambda: ["baseline"])
    monkeypatch.setenv("ZIGAI_CPU", "avx512")
    with pytest.raises(
        UnsupportedError, match=r"avx512 is not (supported by this CPU|built); .* runs baseline"
    ):
        dispatch.choose()


def test_modules_that_were_not_built_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_module", lambda name: None)
    with pytest.raises(UnsupportedError, match="not built"):
        dispatch.choose()


def test_the_number_of_threads_is_the_argument_else_the_environment_else_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZIGAI_NUM_THREADS", "3")
    assert dispatch.thread_count() == 3
    assert dispatch.thread_count(5) == 5
    monkeypatch.delenv("ZIGAI_NUM_THREADS")
    assert dispatch.thread_count() == dispatch.usable_cores() >= 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "100000"])
def test_an_invalid_number_of_threads_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ZIGAI_NUM_THREADS", value)
    with pytest.raises(UnsupportedError, match=f"ZIGAI_NUM_THREADS={value}: must be a whole number"):
        dispatch.thread_count()


def system(tmp_path: Path, siblings: list[str], files: dict[str, str]) -> Path:
    for cpu, text in enumerate(siblings):
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    for name, text in files.items():
        path = tmp_path / "fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("siblings", "files", "cores"),
    [
        (["0", "1", "2", "3"], {}, 4),
        (["0,2", "1,3", "0,2", "1,3"], {}, 2),
        (["0", "1", "2", "3"], {"cpu.max": "250000 100000"}, 2),
        (["0", "1", "2", "3"], {"cpu.max": "50000 100000"}, 1),
        (["0", "1", "2", "3"], {"cpu.max": "max 100000"}, 4),
        (["0", "1", "2", "3"], {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        (["0", "1", "2", "3"], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_usable_cores_are_physical_cores_within_the_quota_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, siblings: list[str], files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    assert dispatch.usable_cores(system(tmp_path, siblings, files)) == cores


def test_a_backend_says_how_it_computes_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZIGAI_CPU", "baseline")
    monkeypatch.setenv("ZIGAI_NUM_THREADS", "3")
    assert isinstance(NativeBackend(), MachineBackend)
    assert NativeBackend(packed_cache="somewhere").machine() == {
        "instruction set": "baseline",
        "built and supported": ", ".join(dispatch.supported()),
        "threads": "3",
        "packed weights": "somewhere",
    }
    monkeypatch.setenv("ZIGAI_NUM_THREADS", "many")
    with pytest.raises(UnsupportedError, match="ZIGAI_NUM_THREADS=many"):
        NativeBackend().machine()
