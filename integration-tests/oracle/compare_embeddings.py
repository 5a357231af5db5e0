"""Compares embeddings of a tiny EmbeddingGemma with those of transformers in float32, and of llama.cpp.

`nox -s oracle` runs this. Pooling and the dense layers, which sentence-transformers computes, are written out
in torch here. The comparison with llama.cpp needs ZIGAI_LLAMA_CPP, as compare_llama_cpp.py does.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from zig_ai import zig_ai

import zigai

FOLDERS = runpy.run_path(str(Path(__file__).with_name("compare_folders.py")))
GEMMA = Path(__file__).resolve().parents[2] / "packages" / "zigai-gemma" / "tests" / "oracles"
MODULES = runpy.run_path(str(GEMMA / "embedding.py"))
PEER = Path(__file__).resolve().parents[2] / "benchmarks" / "peer.py"
TEXTS = [[1, 5, 9, 200], [7], [(7 * i * i + 3) % 300 for i in range(90)], [2, 2, 2, 2, 2, 2]]
"""The third is longer than the window, which is one of 16 or 7."""


def write(folder: Path, *, window: int, dense: bool) -> tuple[Any, list[torch.Tensor]]:
    """A model in the files that EmbeddingGemma has, with the weights of its dense layers."""
    torch.manual_seed(window)
    config = transformers.Gemma3TextConfig(
        hidden_size=64,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        vocab_size=300,
        max_position_embeddings=256,
        head_dim=32,
        sliding_window=window,
        query_pre_attn_scalar=32,
        use_bidirectional_attention=True,
    )
    model = transformers.Gemma3TextModel(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
        else:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    model.save_pretrained(folder)
    matrices = [torch.randn(80, 64) * 0.2, torch.randn(64, 80) * 0.2] if dense else []
    MODULES["write_modules"](folder, [matrix.numpy() for matrix in matrices])
    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32), matrices


@pytest.mark.parametrize("dense", [True, False], ids=["dense layers", "none"])
@pytest.mark.parametrize("window", [16, 7])
def test_embeddings_are_those_of_transformers_and_of_llama_cpp(
    window: int, dense: bool, tmp_path: Path
) -> None:
    model, matrices = write(tmp_path, window=window, dense=dense)
    wanted = []
    with torch.no_grad():
        for text in TEXTS:
            row = model(torch.tensor([text])).last_hidden_state[0].mean(0)
            for matrix in matrices:
                row = matrix @ row
            wanted.append(row.numpy())
    for backend, limit in (("numpy", 1e-4), ("native", 1e-3)):
        ours = zigai.load(tmp_path, backend=backend)
        assert ours.graph.pooling == "mean"
        rows = ours.embed(TEXTS, normalize=False)
        difference = np.abs(rows - np.stack(wanted)).max()
        print(f"window {window}, {backend}: {difference:.1e} of {np.abs(wanted).max():.1f}")
        assert difference <= limit
    path = tmp_path / "out.gguf"
    zig_ai("convert", tmp_path, path, "--type", "F32")
    again = zigai.load(path, backend="numpy").embed(TEXTS, normalize=False)
    np.testing.assert_allclose(again, np.stack(wanted), rtol=0, atol=1e-4)


@pytest.mark.skipif("ZIGAI_LLAMA_CPP" not in os.environ, reason="ZIGAI_LLAMA_CPP names no python")
@pytest.mark.parametrize("dense", [True, False], ids=["dense layers", "none"])
@pytest.mark.parametrize("window", [16, 7])
def test_llama_cpp_gives_the_same_embeddings_from_a_converted_file(
    window: int, dense: bool, tmp_path: Path
) -> None:
    """Its GELU is in float16, so the limit is above that of other architectures (compare_llama_cpp.py)."""
    write(tmp_path, window=window, dense=dense)
    FOLDERS["save_tokenizer"](
        tmp_path, ["llama.cpp opens no file without a vocabulary, which is not used here"]
    )
    path, given, out = (tmp_path / name for name in ("out.gguf", "texts.json", "out.npy"))
    told = zig_ai("convert", tmp_path, path, "--type", "F32").stderr
    assert "llama.cpp ignores" not in told
    given.write_text(json.dumps(TEXTS))
    command = [
        os.environ["ZIGAI_LLAMA_CPP"],
        PEER,
        "embeddings",
        path,
        given,
        out,
        "--threads",
        "1",
        "--no-repack",
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    rows = zigai.load(path, backend="numpy").embed(TEXTS, normalize=False)
    difference = np.abs(np.load(out) - rows).max()
    print(f"window {window}: llama.cpp {difference:.1e} of {np.abs(rows).max():.1f}")
    assert difference <= 5e-3
