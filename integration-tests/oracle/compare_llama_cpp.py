"""Compares llama.cpp with ZigAI on files that `convert` writes: logits of tiny models, and tokens.

`nox -s oracle` runs this. The environment variable ZIGAI_LLAMA_CPP names the python of an environment with
llama-cpp-python, which `nox -s compare` makes (ten minutes), as in

    ZIGAI_LLAMA_CPP=.nox/.cache/llama-cpp/bin/python pytest integration-tests/oracle/compare_llama_cpp.py

Without it, all tests are skipped. llama.cpp runs in processes of its own, by benchmarks/peer.py: one thread,
keys and values in float32. For tokenizers, ZIGAI_TOKENIZERS names the folder that test_tokenizer_files.py
describes.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import unicodedata
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer
from zig_ai import zig_ai

import zigai
from zigai_core.api.reading import read
from zigai_core.ops.operations import feed_forward
from zigai_core.testing.divergence import kl_divergence

PYTHON = os.environ.get("ZIGAI_LLAMA_CPP")
if not PYTHON:
    pytest.skip("ZIGAI_LLAMA_CPP names no python with llama-cpp-python", allow_module_level=True)

HERE = Path(__file__).resolve().parent
PEER = HERE.parents[1] / "benchmarks" / "peer.py"
FOLDERS = runpy.run_path(str(HERE / "compare_folders.py"))
FILES = runpy.run_path(str(HERE.parent / "test_tokenizer_files.py"))
CASES, SIZES = FOLDERS["CASES"], FOLDERS["SIZES"]
TAUGHT = "Once upon a time there was a toy that said hello to 12 others, one by one: it isn't far, they said."
TEXT = f"{TAUGHT} (“Où?” – “Là-bas!”) The 345 which did not go,\n\nbut slept, woke up at 6:07 and knew 日本."

IGNORED = {
    "the sliding window": "attention.sliding_window",
    "the scale of attention": "attention.scale",
}
"""Keys of what `convert` says that llama.cpp ignores."""

LIMIT = 1e-3
"""Largest difference of logits."""


def llama_cpp(*arguments: str | Path) -> None:
    """Runs benchmarks/peer.py with llama.cpp."""
    command = [str(PYTHON), str(PEER), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"


def logits_of_llama_cpp(path: Path, tokens: list[int]) -> np.ndarray[Any, Any]:
    given, out = path.with_suffix(".json"), path.with_suffix(".npy")
    given.write_text(json.dumps([tokens]))
    llama_cpp("logits", path, given, out, "--threads", "1", "--exact", "--no-repack")
    logits: np.ndarray[Any, Any] = np.load(out)
    return logits


def remove_ignored(path: Path, told: str) -> list[str]:
    """Removes the keys from a file that llama.cpp ignores by what `convert` has told; returns them."""
    keys = [key for what, key in IGNORED.items() if f"llama.cpp ignores {what}" in told]
    for key in keys:
        zig_ai("gguf", "remove", path, f"{read(path).architecture}.{key}")
    return keys


def gelu_of_llama_cpp(x: np.ndarray[Any, Any], activation: str) -> np.ndarray[Any, Any]:
    """GELU as llama.cpp computes it: of float16, in float16 (its `ggml_table_gelu_f16`), and x from 10 on."""
    assert activation == "gelu_tanh"
    rounded = x.astype(np.float16).astype(np.float32)
    cubic = np.float32(0.79788456080286535587989211986876) * rounded * (1 + np.float32(0.044715) * rounded**2)
    table = (np.float32(0.5) * rounded * (1 + np.tanh(cubic))).astype(np.float16).astype(np.float32)
    return np.where(x <= -10, np.float32(0), np.where(x >= 10, x, table))


def save(case: str, folder: Path, std: float = 0.3) -> None:
    """A tiny model of random weights, and a byte-level tokenizer with a token for each row."""
    model = FOLDERS["new_model"](case)
    FOLDERS["randomise"](model, std)
    model.save_pretrained(folder)
    FOLDERS["save_tokenizer"](folder, [TAUGHT] * 9)


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_the_same_logits_from_a_converted_file(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(case, tmp_path)
    path = tmp_path / "out.gguf"
    told = zig_ai("convert", tmp_path, path, "--type", "F32").stderr
    ours = zigai.load(tmp_path, backend="numpy", kv_dtype="F32")  # the folder: it knows nothing of the file
    tokens = ours.tokenizer.encode(TEXT)
    assert 100 <= len(tokens) <= 200  # more than the 64 positions for which llama 3 and YaRN were "trained"
    wanted = ours.logits(tokens)
    assert wanted.std() > 0.5
    got = logits_of_llama_cpp(path, tokens)
    file = read(path)
    window = file.hyperparameters.integer("attention.sliding_window", 0)
    gemma = file.architecture.startswith("gemma")
    assert ("llama.cpp ignores the sliding window" in told) == (window > 0 and not gemma)
    if window and not gemma:  # compare within it
        assert np.abs(got[:window] - wanted[:window]).max() <= LIMIT
    if remove_ignored(path, told):  # compare all without it
        assert np.abs(got - wanted).max() > 0.5
    exact = zigai.load(path, backend="numpy", kv_dtype="F32")
    native = zigai.load(path, backend="native", kv_dtype="F32").logits(tokens)
    assert np.abs(exact.logits(tokens) - native).max() <= LIMIT
    if gemma:
        monkeypatch.setattr(feed_forward, "activate", gelu_of_llama_cpp)
    wanted = exact.logits(tokens)
    difference = np.abs(got - wanted).max()
    print(f"{case}: {len(tokens)} tokens, largest difference {difference:.1e} of {np.abs(wanted).max():.1f}")
    # Rounding to float16 makes jumps of tiny differences.
    assert difference <= (5 * LIMIT if gemma else LIMIT)


@pytest.mark.parametrize("dtype", ["F16", "Q8_0"])
@pytest.mark.parametrize("case", [case for case in CASES if case != "mistral"])
def test_llama_cpp_is_near_in_types_for_which_it_rounds_activations(
    case: str, dtype: str, tmp_path: Path
) -> None:
    # With larger weights each layer would multiply the rounding of the activations, in both engines.
    save(case, tmp_path, std=0.7 / SIZES["hidden_size"] ** 0.5)
    path = tmp_path / "out.gguf"
    remove_ignored(path, zig_ai("convert", tmp_path, path, "--type", dtype).stderr)
    exact, native = (zigai.load(path, backend=backend, kv_dtype="F32") for backend in ("numpy", "native"))
    tokens = exact.tokenizer.encode(TEXT)
    wanted = exact.logits(tokens)
    assert np.ptp(wanted, axis=1).min() > 1  # uniform distributions would hide every difference
    theirs = kl_divergence(wanted, logits_of_llama_cpp(path, tokens))
    ours = kl_divergence(wanted, native.logits(tokens))
    print(f"{case}, {dtype}: KL of llama.cpp {theirs.mean():.1e}, of the native backend {ours.mean():.1e}")
    assert max(theirs.mean(), ours.mean()) <= 1e-3


@pytest.mark.parametrize("name", ["llama3_1", "qwen3", "gemma3"])
def test_llama_cpp_gives_the_same_tokens_from_a_converted_file(name: str, tmp_path: Path) -> None:
    """Texts of many scripts. Not all are in NFC, for which a GGUF file cannot ask: no engine normalises them.

    Left out, in Gemma's vocabulary alone: `</s>`, a tag of HTML that llama.cpp takes for a control token, and
    U+2581, of which it has user-defined tokens, for spaces in ZigAI (`SentencePieceTokenizer`).
    """
    source = FILES["folder"](name)
    size = Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab_size()
    values = {**SIZES, "vocab_size": size, "hidden_size": 32, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(**values, tie_word_embeddings=True)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    for file in source.glob("tokenizer*.json"):
        shutil.copy(file, tmp_path)
    path, given, out = (tmp_path / file for file in ("out.gguf", "texts.json", "tokens.json"))
    zig_ai("convert", tmp_path, path, "--type", "F16")
    texts = list(islice((text for text in FILES["texts"]([]) if text), 1000))
    if name == "gemma3":
        texts = [text.replace("\u2581", "").replace("</s>", "") for text in texts]
    assert sum(unicodedata.normalize("NFC", text) != text for text in texts) > 50
    given.write_text(json.dumps(texts))
    llama_cpp("tokens", path, given, out)
    ours, stored = (zigai.load(place, backend="numpy").tokenizer for place in (path, tmp_path))
    wanted = [ours.encode(text, bos=False) for text in texts]
    got = json.loads(out.read_text())
    assert all(
        stored.encode(text, bos=False) == tokens
        for text, tokens in zip(texts, got, strict=True)
        if unicodedata.is_normalized("NFC", text)
    )
    different = [text for text, a, b in zip(texts, wanted, got, strict=True) if a != b]
    assert not different, f"{len(different)} of {len(texts)}: {different[0][:300]!r}"
