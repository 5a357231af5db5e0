"""The versions that a new package depends on, and the distributions that are installed beside it."""

from __future__ import annotations

import re
from importlib import metadata

from zigai_cli.failure import InputError


def core_range() -> str:
    """The range of versions of zigai-core that has the contracts of the installed one: `>=0.1,<0.2`.

    A change to a contract raises core's minor version. A release before the first of a minor version is the
    lower bound itself, since `>=0.2` excludes 0.2.0rc1 (PEP 440).
    """
    version = metadata.version("zigai-core")
    parts = re.match(r"(\d+)\.(\d+)(.*)", version)
    if parts is None:
        raise InputError(f"the installed zigai-core has the version {version!r}: install a release of it")
    released = re.fullmatch(r"(\.\d+)*(\+.*)?", parts[3]) is not None
    low = f"{parts[1]}.{parts[2]}" if released else version.partition("+")[0]
    return f">={low},<{parts[1]}.{int(parts[2]) + 1}"


def refuse_installed(distribution: str) -> None:
    """Raises `InputError` if a distribution of this name is installed."""
    try:
        version = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return
    raise InputError(
        f"{distribution} {version} is installed already: choose another name, or uninstall it first "
        f"(python -m pip uninstall {distribution})"
    )


def licence_text() -> str | None:
    """The text of the Apache License 2.0 that came with this package; None if it is not there."""
    return metadata.distribution("zigai-cli").read_text("licenses/LICENSE")
