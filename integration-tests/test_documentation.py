"""The documentation is correct: its Python runs, its `zig-ai` commands run, its links resolve.

The blocks of a page marked `python` run together as one program. In blocks marked `console` the lines that
begin with `$ zig-ai` run. Both run in a folder in which every `.gguf` file named on the page is a toy.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "packages/*/*.md", "benchmarks/*.md", "integration-tests/**/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", flags=re.MULTILINE)


def blocks(page: Path, mark: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text(encoding="utf-8")) if kind == mark]


def commands(page: Path) -> list[str]:
    lines = [line for body in blocks(page, "console") for line in body.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ zig-ai")]


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def folder(page: Path, tmp_path: Path, toy: Path) -> Path:
    for model in set(re.findall(r"[\w.-]+\.gguf", page.read_text(encoding="utf-8"))):
        shutil.copyfile(toy, tmp_path / model)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_on_a_page_runs(page: Path, folder: Path) -> None:
    program = "\n".join(blocks(page, "python"))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_the_commands_on_a_page_run(page: Path, folder: Path) -> None:
    for command in commands(page):
        arguments = shlex.split(command)
        arguments[0] = shutil.which("zig-ai", path=str(Path(sys.executable).parent)) or "zig-ai"
        run = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, check=False, input="Hello\n", timeout=120
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_relative_links_of_a_page_resolve(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in (first or second for first, second in LINK.findall(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name(page)} links to {target}, which does not exist"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{name(page)} links to {target}, and there is no such heading"


def test_the_readme_shows_python_and_commands() -> None:
    assert blocks(ROOT / "README.md", "python")
    assert commands(ROOT / "README.md")
