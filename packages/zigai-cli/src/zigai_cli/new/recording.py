"""Records the oracles of a package that is not installed, and compares its graph with them."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zigai_cli.new.naming import PackageName
from zigai_core.contracts.errors import ZigAIError, escape


def record(folder: Path, name: PackageName) -> str:
    """Records the cases of `tests/oracles/cases.toml`; returns why that failed, or an empty text.

    A process of its own finds the package in `folder`, as if it were installed.
    """
    entry_points = _entry_points(folder)
    with tempfile.TemporaryDirectory() as site:
        info = Path(site, f"{name.module}-0.1.0.dist-info")
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.distribution}\nVersion: 0.1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        paths = [site, str(folder / "src"), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            [sys.executable, "-m", "zigai_core.testing.oracles", str(folder / "tests" / "oracles")],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "PYTHONDONTWRITEBYTECODE": "1",  # the package's folder keeps its sources alone
            },
            cwd=site,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
    reason = re.sub(r"^zigai_core\.contracts\.errors\.\w+: ", "", lines[-1])
    reason = re.sub(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/", "", reason)  # the model's own folder
    return escape(reason.replace(str(folder), name.distribution), 600)


def difference_of(folder: Path, name: PackageName, entry: str) -> str:
    """Returns where the package's graph differs from its oracles, as a sentence; empty if it does not."""
    from zigai_core.api.loading import build
    from zigai_core.api.registry import Plugins
    from zigai_core.contracts.options import CompileOptions
    from zigai_core.ops.reference import NumpyBackend
    from zigai_core.testing.oracles import Oracle, first_difference
    from zigai_core.testing.oracles.comparison import TOLERANCE, difference
    from zigai_core.testing.schedules import whole_prefill

    architecture: Any = runpy.run_path(str(folder / "src" / name.module / "__init__.py"))[name.function]
    plugins = Plugins.installed().extended(architectures={entry: architecture})
    for path in sorted((folder / "tests" / "oracles").glob("*.npz")):
        oracle = Oracle.load(path)
        try:
            graph = build(oracle.model, context=128, plugins=plugins)
        except ZigAIError as error:
            return str(error)
        options = CompileOptions(context=128, batch=64, page=16, kv_dtype="F32", threads=1)
        outputs = whole_prefill(NumpyBackend().compile(graph, oracle.model.tensors, options), oracle.tokens)
        if not difference(outputs, oracle.outputs) <= TOLERANCE:
            return first_difference(oracle, graph)
    return ""


def unknown_keys(folder: Path) -> Mapping[str, Any]:
    """Returns the settings in the oracles that the reader of folders passed on without a name."""
    from zigai_core.contracts.hyperparameter_keys import UNKNOWN
    from zigai_core.testing.oracles import Oracle

    return {
        key.removeprefix(UNKNOWN): value
        for path in sorted((folder / "tests" / "oracles").glob("*.npz"))
        for key, value in Oracle.load(path).model.hyperparameters.items()
        if key.startswith(UNKNOWN)
    }


def _entry_points(folder: Path) -> str:
    import tomllib

    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{entry} = {value}" for entry, value in entries.items())]
    return "\n".join(lines) + "\n"
