"""Checks of an installation: the machine, packages, plugins, backends, folders and environment variables."""

from __future__ import annotations

import difflib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from zigai_cli import failure, places
from zigai_cli.measure import machine
from zigai_cli.measure.bandwidth import read_bandwidth
from zigai_cli.measure.installed import packages, rows
from zigai_cli.settings import config_file, settable
from zigai_cli.terminal.output import figure
from zigai_core.api.backends import make_backend
from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.plugins import MachineBackend

VARIABLES = {
    "ZIGAI_HOME": "folder of settings and data",
    "ZIGAI_PACKED_CACHE": "folder of packed weights",
    "ZIGAI_PACKED_CACHE_LIMIT": "most bytes of packed weights",
    "ZIGAI_CPU": "instruction set of the native backend",
    "ZIGAI_NUM_THREADS": "threads of the native backend",
    "ZIGAI_DEBUG": "tracebacks of errors",
    "NO_COLOR": "no colours",
    "HF_HOME": "cache of the Hugging Face hub",
    "HF_HUB_OFFLINE": "no network for the hub",
    "HF_ENDPOINT": "address of the hub",
}
"""Environment variables that ZigAI or a library it uses reads, and what they set."""
FOR_TESTS = frozenset({"ZIGAI_LLAMA_CPP"})
"""Environment variables that tests read, of which users need not hear."""
NEEDED = {
    "zigai.formats": "no model file can be read",
    "zigai.architectures": "no model can be run",
    "zigai.tokenizers": "no text can be read",
    "zigai.backends": "nothing can be computed",
}
"""Groups of plugins of which at least one is needed, and what is impossible without."""
INSTALL = "pip install --upgrade zigai"

Status = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """One fact or finding. An error says that something is broken, a warning that something is amiss."""

    group: str
    name: str
    text: str
    status: Status = "ok"


def checks(own_commands: frozenset[str]) -> Iterator[Check]:
    """All checks, in order. `own_commands` are the built-in commands, which no plugin can replace."""
    yield from _machine()
    yield Check(
        "software",
        "Python",
        f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
    )
    yield Check("software", "system", platform.platform())
    yield from _packages()
    yield from _plugins(own_commands)
    yield from _backends()
    yield from _folders()
    yield from _variables()


def _machine() -> Iterator[Check]:
    cores = machine.logical_cores()
    yield Check("machine", "CPU", f"{machine.cpu()}, {cores} logical core{'s' if cores > 1 else ''} usable")
    vectors = machine.instruction_sets()
    yield Check("machine", "instruction sets", ", ".join(vectors) or "unknown on this system")
    total, free = machine.memory()
    if total is None:
        yield Check("machine", "memory", "unknown on this system")
    else:
        shown = "" if free is None else f", {figure(free)}B free"
        low = free is not None and free < 1 << 30
        yield Check("machine", "memory", f"{figure(total)}B{shown}", "warning" if low else "ok")
    try:
        rate = read_bandwidth(cores)
    except (MemoryError, RuntimeError):  # a thread that cannot be started is a RuntimeError
        yield Check("machine", "memory bandwidth", "not enough free memory to measure it", "warning")
    else:
        yield Check(
            "machine",
            "memory bandwidth",
            f"{rate / 1e9:.1f} GB/s read by {cores} thread{'s' if cores > 1 else ''}: a 1 GB model decodes "
            f"at most {rate / 1e9:.0f} tokens/s",
        )


def _packages() -> Iterator[Check]:
    found = packages()
    needed: dict[str, None] = {}
    for name, version in found.items():
        yield Check("packages", name, version)
        for requirement in metadata.requires(name) or ():
            other = re.match(r"[A-Za-z0-9._-]+", requirement)
            if other and "extra ==" not in requirement and other[0] not in found:
                needed[other[0]] = None
    for name in sorted(needed):
        try:
            yield Check("packages", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check("packages", name, f"MISSING: {INSTALL}", "error")


def _plugins(own_commands: frozenset[str]) -> Iterator[Check]:
    for registry in Plugins.installed().registries():
        count = 0
        for row in rows(registry, own_commands):
            problem = row["conflict"] or row["error"]
            if problem:
                yield Check("plugins", f"{registry.group} {row['name']}", problem, "error")
            count += not problem
        if not count and registry.group in NEEDED:
            yield Check("plugins", registry.group, f"none: {NEEDED[registry.group]}: {INSTALL}", "error")
        else:
            yield Check("plugins", registry.group, f"{count} usable")


def _backends() -> Iterator[Check]:
    plugins = Plugins.installed()
    speeds = []
    for name in plugins.backends:
        try:
            backend = make_backend(name, plugins, {})
            facts = dict(backend.machine()) if isinstance(backend, MachineBackend) else {}
        except ZigAIError as error:
            yield Check("backends", name, failure.describe(error), "error")
            continue
        speeds.append(backend.speed)
        text = "; ".join(f"{fact}: {value}" for fact, value in facts.items())
        yield Check("backends", name, text or "usable")
    if speeds and max(speeds) <= 0:
        yield Check("backends", "speed", f"only the reference backend, which is slow: {INSTALL}", "warning")


def _folders() -> Iterator[Check]:
    configured = config_file.read().get("packed_cache")
    kept = None if configured is None else settable.expanded(str(configured.value))
    packed = os.environ.get("ZIGAI_PACKED_CACHE") or kept
    folders = {"settings": places.config_folder(), "data": places.data_folder()}
    for name, folder in (
        folders.items() if not packed else {**folders, "packed weights": Path(packed)}.items()
    ):
        problem = _not_writable(folder)
        text = f"{folder}: {problem}" if problem else str(folder)
        yield Check("folders", name, text, "warning" if problem else "ok")
    if not packed:
        yield Check(
            "folders", "packed weights", "not kept: --packed-cache FOLDER makes large models start faster"
        )


def _not_writable(folder: Path) -> str:
    """Why no file can be made in a folder, or the folder itself not be made; empty if it can."""
    existing = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if existing is None or not existing.is_dir():
        return f"{existing} is not a folder"
    try:
        with tempfile.TemporaryFile(dir=existing):
            return ""
    except OSError as error:
        return f"not writable: {error.strerror}"


def _variables() -> Iterator[Check]:
    for name, meaning in VARIABLES.items():
        value = os.environ.get(name)
        if value:
            yield Check("environment", name, f"{value} ({meaning})")
    for name in sorted(os.environ):
        if name.startswith("ZIGAI_") and name not in VARIABLES and name not in FOR_TESTS:
            near = difflib.get_close_matches(name, VARIABLES, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield Check("environment", name, f"nothing of ZigAI's own reads it{hint}", "warning")
