"""Writes packages for classes of transformers with `zig-ai new`, and checks what it says of them.

`nox -s oracle` runs this.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from zigai_core.testing.oracles import Oracle


def new(model_class: str, folder: Path, *options: str) -> tuple[Path, list[str]]:
    """The folder of a new package, and what is left to do."""
    command = (
        "new",
        "architecture",
        "own",
        "--from-transformers",
        model_class,
        "--into",
        str(folder),
        "--json",
    )
    done = subprocess.run(
        [sys.executable, "-m", "zigai_cli", *command, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return Path(report["folder"]), report["left"]


@pytest.mark.parametrize(
    ("model_class", "entry", "difference"),
    [
        (
            "Phi3ForCausalLM",
            "phi3",
            "blk.0.attn_q.weight is missing",
        ),  # queries, keys and values are one matrix
        (
            "Olmo2ForCausalLM",
            "olmo2",
            "blk.0.attn_norm.weight is missing",
        ),  # norms follow what they normalise
        ("Starcoder2ForCausalLM", "starcoder2", "starcoder2.attention.layer_norm_rms_epsilon"),  # LayerNorm
        ("HeliumForCausalLM", "helium", "the first value that differs is blk.0.attn_output"),  # pairs of RoPE
    ],
)
def test_an_oracle_is_recorded_and_the_first_difference_is_named(
    tmp_path: Path, model_class: str, entry: str, difference: str
) -> None:
    package, left = new(model_class, tmp_path)
    oracle = Oracle.load(package / "tests" / "oracles" / "own.npz")
    assert oracle.model.architecture == entry
    assert model_class in oracle.source
    assert len(left) == 1
    assert "src/zigai_own/__init__.py: the graph is a plain decoder" in left[0]
    assert difference in left[0]


def test_a_class_that_is_a_plain_decoder_has_nothing_left_to_do(tmp_path: Path) -> None:
    options = ("--architecture", "seed", "--config", "attention_bias=false")
    package, left = new("SeedOssForCausalLM", tmp_path, *options)
    assert left == []
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["zigai.huggingface"] == {"seed_oss": "zigai_own.huggingface:OWN"}


@pytest.mark.parametrize(
    ("model_class", "unknown"),
    [("BertModel", ["pooler.dense.weight", "type_vocab_size = 2"]), ("MambaForCausalLM", ["mixer.A_log"])],
)
def test_what_has_no_name_is_listed_and_no_oracle_is_recorded(
    tmp_path: Path, model_class: str, unknown: list[str]
) -> None:
    package, left = new(model_class, tmp_path)
    assert not list(package.rglob("*.npz"))
    for name in unknown:
        assert any(name in line for line in left), name
    assert "there is no oracle" in left[-1]


@pytest.mark.parametrize(
    ("model_class", "error"),
    [
        ("NoSuchModel", "has no class of this name"),
        ("Phi3Config", "has no model of this name"),
        ("PreTrainedModel", "stands for many families"),
        ("CLIPModel", "more than 2,000,000"),
        ("LlamaForCausalLM", "is that of zigai-llama"),
    ],
)
def test_a_class_that_cannot_be_used_is_an_error_in_one_line(
    tmp_path: Path, model_class: str, error: str
) -> None:
    command = ("new", "architecture", "own", "--from-transformers", model_class, "--into", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "zigai_cli", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert error in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
