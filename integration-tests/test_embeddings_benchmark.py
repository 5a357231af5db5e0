"""The script benchmarks/embeddings.py, with a small library in the place of sentence-transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODEL = next((ROOT / "packages" / "zigai" / "src" / "zigai" / "models").glob("*.gguf"))
LIBRARY = """
import zigai
class SentenceTransformer:
    def __init__(self, folder, device):
        self.model = zigai.load(folder)
    def encode(self, texts, convert_to_numpy, show_progress_bar):
        return -self.model.embed(texts)
"""


def measure(folder: Path, library: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A run of the script with a library of this text as sentence-transformers."""
    (folder / "torch.py").write_text("def set_num_threads(count): pass")
    (folder / "sentence_transformers.py").write_text(library)
    command = [sys.executable, str(ROOT / "benchmarks" / "embeddings.py"), str(MODEL), "--texts", "5"]
    command += ["--rounds", "2", "--peer", sys.executable, *options]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(folder)}
    )


def test_rates_and_cosines_are_printed_and_written(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    done = measure(tmp_path, LIBRARY, "--json", str(written))
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(written.read_text())
    assert figures["least_cosine"] == pytest.approx(-1)
    assert len(figures["ratios"]) == 2
    assert min(figures["ratios"]) <= figures["ratio"] <= max(figures["ratios"])
    assert figures["texts_per_second"] / figures["peer_texts_per_second"] == pytest.approx(figures["ratio"])
    assert figures["tokens"] >= 5 * 5  # sentences of five words and more
    assert "least cosine           -1.00000000" in done.stdout


def test_the_last_line_of_a_library_that_fails_is_shown(tmp_path: Path) -> None:
    done = measure(tmp_path, "raise ImportError('no such library')")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "sentence-transformers: ImportError: no such library"
