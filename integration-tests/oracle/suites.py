"""The conformance suites of the packages of families, with what only an integration has: a GGUF writer."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

from zigai_core.testing.architecture import ArchitectureConformance, LlamaCppConformance
from zigai_core.testing.oracles import Oracle
from zigai_gguf.convert import convert

ROOT = Path(__file__).resolve().parents[2]


def suites() -> Iterator[tuple[str, type[LlamaCppConformance]]]:
    """Each suite with the name of its package."""
    for path in sorted(ROOT.glob("packages/*/tests/test_*_conformance.py")):
        if not (path.parent / "oracles").is_dir():
            continue
        for found in runpy.run_path(str(path)).values():
            is_suite = isinstance(found, type) and issubclass(found, ArchitectureConformance)
            if is_suite and found is not ArchitectureConformance:
                made = type(
                    found.__name__, (found, LlamaCppConformance), {"write_gguf": staticmethod(convert)}
                )
                yield path.parents[1].name, made


def pairs() -> Iterator[tuple[str, LlamaCppConformance, Oracle]]:
    """Each oracle with a suite for it, and the name of the package."""
    for package, suite in suites():
        made = suite()
        for path in made.oracle_paths():
            yield package, made, Oracle.load(path)
