"""The RoPE pairing of a file is the one that llama.cpp uses for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_gguf import GGUFFormat, write_gguf


def pairing(tmp_path: Path, architecture: str, **keys: Any) -> str:
    path = tmp_path / "x.gguf"
    metadata = {"general.architecture": architecture}
    metadata |= {f"{architecture}.{key.replace('__', '.')}": value for key, value in keys.items()}
    write_gguf(path, metadata)
    return GGUFFormat().read(path).conventions.rope_pairing


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("llama", "adjacent"),
        ("mistral3", "adjacent"),
        ("deepseek2", "adjacent"),
        ("command-r", "adjacent"),
        ("smollm3", "adjacent"),
        ("glm4", "adjacent"),
        ("qwen", "half"),
        ("qwen2", "half"),
        ("qwen3moe", "half"),
        ("gemma3", "half"),
        ("phi3", "half"),
        ("gpt-oss", "half"),
        ("glm4moe", "half"),
        ("unknown-architecture", "half"),
    ],
)
def test_the_architecture_determines_the_pairing(tmp_path: Path, architecture: str, expected: str) -> None:
    assert pairing(tmp_path, architecture) == expected


def test_multi_section_rope_pairs_halves(tmp_path: Path) -> None:
    for sections, expected in (([16, 24, 24, 0], "half"), ([0, 0, 0, 0], "adjacent")):
        found = pairing(tmp_path, "glm4", rope__dimension_sections=np.array(sections, np.int32))
        assert found == expected
