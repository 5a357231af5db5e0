"""The modules of benchmarks/compare.py: bounds, files with random weights, results and reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zigai
from zigai_cli.measure import shapes
from zigai_cli.measure.shapes import random_model
from zigai_core.testing.toys import toy_decoder

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the scripts and their modules importable during a test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("comparison", "compare", "limits", "peer"):
            del sys.modules[name]


def machine(threads: int = 1) -> Any:
    """Limits of a machine that reads 10 GB/s and does 100 G/s multiply-adds in int8, 20 in float32."""
    from limits import Limits, Rate

    read, int8, f32 = (Rate(0.9 * best, best) for best in (1e10, 1e11, 2e10))
    return Limits(threads, read, int8, f32, "a sequence")


def work(**options: Any) -> list[Any]:
    from comparison.work import jobs

    none: dict[str, Any] = {"prompts": [], "depths": [], "sequences": [], "start": False}
    return list(jobs(**{**none, "generate": 4, "repeat": 2, **options}))


def test_the_demand_of_a_published_shape_follows_from_its_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    from comparison.bounds import Demand

    small = {**shapes.SHAPES["llama2-7b"], "layers": 2}
    monkeypatch.setattr(shapes, "SHAPES", {"two-layers": small})
    demand = Demand.of(random_model("two-layers", "Q8_0"))
    matrices = 2 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    assert demand.layer_elements == matrices
    assert demand.head_elements == 32_000 * 4096
    assert demand.cache_bytes == 2 * 2 * 4096 * 2
    assert demand.weight_bytes == (matrices + 32_000 * 4096) * 34 // 32 + 5 * 4096 * 4
    assert demand.file_bytes == demand.weight_bytes + 32_000 * 4096 * 34 // 32
    assert demand.arithmetic == "int8"


def test_a_tied_embedding_is_read_as_the_head_and_unused_experts_are_not() -> None:
    from comparison.bounds import Demand

    tied = toy_decoder(tied=True, vocabulary=512, width=64)
    assert Demand.of(tied).weight_bytes == tied.nbytes
    assert Demand.of(tied).arithmetic == "f32"
    experts = toy_decoder("qwen2moe", experts=8, layers=1, width=64, hidden=96)
    every = 8 * 3 * 96 * 64
    rest = sum(
        int(np.prod(tensor.shape))
        for name, tensor in experts.tensors.items()
        if len(tensor.shape) == 2 and name not in ("token_embd.weight", "output.weight")
    )
    assert Demand.of(experts).layer_elements == every * 2 // 8 + rest


def test_a_bound_is_the_slower_of_reading_and_multiplying() -> None:
    from comparison.bounds import Demand

    demand = Demand(int(1e9), int(8e8), int(2e8), 1000, "int8", int(1.2e9))
    (prefill,) = work(prompts=[100])
    (decode,) = work(depths=[100_000])
    (together,) = work(sequences=[64])
    (start,) = work(start=True)
    bound = demand.bound(prefill, "prompt_tps", machine())
    assert bound == pytest.approx(100 / ((100 * 8e8 + 2e8) / 1e11))
    assert demand.bound(decode, "generate_tps", machine()) == pytest.approx(1e10 / (1e9 + 100_002.5 * 1000))
    assert demand.bound(together, "generate_tps", machine()) == pytest.approx(1e11 / 1e9)
    assert demand.bound(start, "start_to_token_s", machine()) == pytest.approx(0.1)
    assert demand.bound(start, "peak_resident_bytes", machine()) == 1.2e9
    assert demand.bound(start, "load_s", machine()) is None


@pytest.mark.parametrize(
    ("dtype", "arithmetic", "rate"), [("Q8_0", "int8", 1e11), ("BF16", "int16", 5e10), ("F32", "f32", 2e10)]
)
def test_multiply_adds_are_bounded_by_the_weights_arithmetic(
    dtype: str, arithmetic: str, rate: float
) -> None:
    from comparison.bounds import Demand

    demand = Demand.of(toy_decoder(dtype=dtype))
    assert demand.arithmetic == arithmetic
    (prefill,) = work(prompts=[512])
    sums = 512 * demand.layer_elements + demand.head_elements
    assert demand.bound(prefill, "prompt_tps", machine()) == pytest.approx(512 * rate / sums)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ({"architecture": "llama", "vocabulary": 600}, "llama"),
        ({"architecture": "qwen2", "bias": True, "tied": True, "vocabulary": 70_000}, "gpt2"),
    ],
)
def test_a_random_file_loads_with_its_tokenizer_and_a_long_context(
    shape: dict[str, Any], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comparison import random_file

    monkeypatch.setattr(random_file, "MANY_TOKENS", 10_000)
    monkeypatch.setattr(shapes, "SHAPES", {"small": {"layers": 1, "width": 64, "context": 128, **shape}})
    path = random_file.find("small:Q8_0", tmp_path)
    model = zigai.load(path)
    assert model.descriptor.tokenizer is not None
    assert model.descriptor.tokenizer.kind == kind
    assert model.tokenizer.vocabulary_size == shape["vocabulary"]
    assert model.options.context == random_file.CONTEXT
    tokens = model.tokenizer.encode("the river", bos=False)
    # The artificial vocabulary spells ▁, the mark of a space, in bytes, which are decoded as ▁.
    assert model.tokenizer.decode(tokens).replace("▁", " ").strip() == "the river"
    assert np.isfinite(model.logits(tokens)).all()
    before = path.stat().st_mtime_ns
    assert random_file.find("small:Q8_0", tmp_path).stat().st_mtime_ns == before


def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    from comparison.random_file import find

    with pytest.raises(SystemExit, match=r"gone\.gguf: neither a file nor SHAPE:TYPE"):
        find("gone.gguf", tmp_path)
    with pytest.raises(SystemExit, match="--models must name a folder"):
        find("llama2-7b:Q8_0", None)
    with pytest.raises(zigai.UnsupportedError, match="no random model strange:Q8_0"):
        find("strange:Q8_0", tmp_path)


def test_jobs_cover_all_requested_work() -> None:
    jobs = work(prompts=[128, 512], depths=[0, 1024], sequences=[4], start=True)
    assert [figure.name for job in jobs for figure in job.figures] == [
        "prefill 128",
        "prefill 512",
        "decode at 0",
        "decode at 1,024",
        "decode 4 together",
        "load",
        "process start to first token",
        "peak resident memory",
    ]
    assert jobs[3].context == 1028
    assert jobs[4].options == [
        *("--prompt", "0", "--generate", "4", "--depth", "0", "--sequences", "4", "--repeat", "2")
    ]


def test_the_better_setting_counts_and_is_named() -> None:
    from comparison.bounds import Demand
    from comparison.result import row

    demand = Demand(int(1e9), int(8e8), int(2e8), 0, "int8", int(1.2e9))
    (decode,), (start,) = work(depths=[0]), work(start=True)
    values = {"ZigAI": [7.0, 9.0, 8.0], "repacked": [4.0, 5.0, 6.0], "as stored": [3.0, 3.0, 9.0]}
    fast = row(decode, decode.figures[0], values, "ZigAI", demand, machine())
    assert (fast["ours"], fast["peer"], fast["peer_setting"]) == (8.0, 5.0, "repacked")
    assert fast["ratio"] == pytest.approx(1.6)
    assert fast["our_share"] == pytest.approx(0.8)
    first = row(start, start.figures[1], values, "ZigAI", demand, machine())
    assert (first["peer"], first["peer_setting"]) == (3.0, "as stored")
    assert first["ratio"] == pytest.approx(3 / 8)
    assert first["our_share"] == pytest.approx(0.1 / 8)
    alone = row(decode, decode.figures[0], {"ZigAI": [8.0], "repacked": []}, "ZigAI", demand, machine())
    assert (alone["peer"], alone["ratio"], alone["peer_share"]) == (None, None, None)


class Fake:
    """A system that returns fixed figures without running anything. Jobs at a depth above 0 fail."""

    def __init__(self, name: str, speed: float) -> None:
        self.name, self.speed = name, speed
        self.jobs: list[Any] = []

    def run(self, model: Path, job: Any, threads: int) -> dict[str, float]:
        self.jobs.append(job)
        if job.depth:
            raise RuntimeError(f"{self.name}: too deep")
        names = ("prompt_tps", "generate_tps", "load_s", "start_to_token_s", "peak_resident_bytes")
        return dict.fromkeys(names, self.speed + len(self.jobs))


def test_a_comparison_is_reported_in_tables_that_replace_a_part_of_a_page(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import compare
    from comparison.document import replace_part
    from comparison.report import markdown

    monkeypatch.setattr(compare, "measure", lambda threads, passes: machine(threads))
    systems = [Fake("ZigAI", 1000), Fake("repacked", 100), Fake("as stored", 200)]
    jobs = work(prompts=[16, 100_000], depths=[0, 8], start=True)
    result = compare.compare(toy, systems, jobs, threads=2, rounds=3)  # type: ignore[arg-type]
    assert {len(system.jobs) for system in systems} == {3 * 4}
    assert result["notes"] == [
        "prefill 100,000 is skipped: it needs a context of 100,000 tokens, the model has 512",
        *(f"decode at 8: {system.name}: too deep" for system in systems),
    ]
    run = {
        "date": "2026-01-01",
        "machine": {
            "cpu": "a CPU",
            "cores": 2,
            "system": "Linux",
            "python": "3.11",
            "zigai": "0.1.0",
            "commit": None,
            "load_average": 0.0,
        },
        "peer_version": "0.3",
        "options": {"rounds": 3, "repeat": 2, "generate": 4},
        "results": [result],
    }
    text = markdown([json.loads(json.dumps(run))])
    assert "| prefill 16, tokens/s | 2 | 1,005 (1,001–1,009) |" in text
    assert "| as stored |" in text
    assert "- decode at 8: repacked: too deep" in text
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- compare: begin -->old<!-- compare: end -->\nafter\n")
    replace_part(page, "compare", text)
    assert "old" not in page.read_text()
    assert page.read_text().startswith("before\n<!-- compare: begin -->\n\nMeasured on 2026-01-01")
    assert page.read_text().endswith("<!-- compare: end -->\nafter\n")
    with pytest.raises(SystemExit, match="must hold one part"):
        replace_part(page, "numbers", text)


def test_the_error_without_llama_cpp_says_how_to_install_it() -> None:
    from comparison.systems import peers

    with pytest.raises(SystemExit, match=r"has no llama\.cpp .* peer/bin/pip install llama-cpp-python"):
        peers("/nonexistent/python")


def test_no_worse_than_is_true_for_equal_accuracy_and_false_for_worse() -> None:
    from comparison.judgement import Judged

    random = np.random.default_rng(0)
    common = random.gamma(1.0, 1e-3, 4000)

    def judged(worse: float) -> Judged:
        noise = random.normal(0.0, 2e-4, 4000)
        return Judged(common + worse + noise, 2.0 + common + worse + noise)

    peer = judged(0.0)
    assert judged(0.0).no_worse_than(peer)
    assert judged(-1e-4).no_worse_than(peer)
    assert not judged(5e-5).no_worse_than(peer)


def test_the_share_of_others_excludes_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from comparison import others

    readings = [(10.0, 4.0, 100.0), (13.0, 5.0, 102.0)]
    monkeypatch.setattr(others.Others, "_now", lambda self: readings.pop(0))
    monkeypatch.setattr(others.os, "cpu_count", lambda: 4)
    assert others.Others().share() == pytest.approx((3 - 1) / (2 * 4))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_time_of_ended_children_counts_as_this_processs() -> None:
    from comparison.others import Others

    now = Others()._now()
    assert now is not None
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    later = Others()._now()
    assert later is not None
    assert later[1] - now[1] >= 0.45
    assert later[0] - now[0] >= 0.4


def test_limits_are_measured_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import limits

    monkeypatch.setattr(limits, "STREAM", 1 << 20)
    monkeypatch.setattr(limits, "PASS_SECONDS", 1e-4)
    try:
        measured = [limits.measure(threads, passes=3) for threads in (1, 2)]
    except RuntimeError as error:
        pytest.skip(str(error))
    for found in measured:
        for rate in (found.read, found.int8, found.f32):
            assert 1e6 < rate.median <= rate.best < 1e14
    assert measured[0].int8_sequence in limits.table(measured)
    with pytest.raises(ValueError, match="1 to 256"):
        limits.measure(0)
