"""Core and the kernels are written for no family: none of their code has the name of one.

What is named otherwise: text/ has templates and formats of replies that go by their names, testing/ has toys
and llama.cpp as the other engine.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from zigai.hints import PACKAGES

ROOT = Path(__file__).parents[1]
PYTHON = [
    path
    for package in ("zigai-core", "zigai-kernels")
    for path in sorted((ROOT / "packages" / package / "src").rglob("*.py"))
    if not {"text", "testing"} & {*path.relative_to(ROOT).parts}
]
NATIVE = sorted((ROOT / "packages" / "zigai-kernels" / "native").glob("*.[ch]"))
FAMILIES = {
    *(re.split(r"[\d_-]", name)[0] for name in PACKAGES["zigai.architectures"]),
    *(package.removeprefix("zigai-") for package in PACKAGES["zigai.architectures"].values()),
} - {"command", "gpt", "modern", "seed"}
"""The first words of names, without those that mean other things; `gpt2` is a kind of tokenizer."""
NAME = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(FAMILIES))})(?!\.cpp)(?:\d[0-9a-z]*)?(?![a-z])", re.IGNORECASE
)


def words(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each name and string of Python code, but not of its docstrings."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value
        for field in ("id", "attr", "name", "arg"):
            if isinstance(found := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), found


def spelt(word: str) -> str:
    """A name in CamelCase or snake_case as words with spaces between them."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", word)


def test_the_names_are_those_of_families() -> None:
    assert {"llama", "qwen", "gemma", "bert", "phi"} <= FAMILIES
    for text in ("qwen2", "GemmaAttention", "is_llama", "qwen2moe", "phi3", "bert"):
        assert NAME.search(spelt(text)), text
    for text in ("llama.cpp", "graphics", "liberty"):
        assert not NAME.search(spelt(text)), text


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_no_python_code_names_a_family(path: Path) -> None:
    found = [f"line {line}: {word}" for line, word in words(path.read_text()) if NAME.search(spelt(word))]
    assert not found, f"{path.relative_to(ROOT)} names a family: {found}"


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_no_native_code_names_a_family(path: Path) -> None:
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.DOTALL)
    found = NAME.search(spelt(code))
    assert not found, f"{path.relative_to(ROOT)} names a family: {found}"
