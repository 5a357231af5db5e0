"""`zig-ai version`: versions of the installed packages, Python and the system."""

from __future__ import annotations

import platform
import re
import sys

from zigai_cli.terminal.output import clean


def version() -> None:
    """Show the versions of the zigai packages, Python and the system."""
    show_version()


def show_version() -> None:
    """Print the versions, one per line."""
    from importlib import metadata

    found = {
        re.sub(r"[-_.]+", "-", name).lower(): distribution.version
        for distribution in metadata.distributions()
        # A distribution whose metadata is broken has no name.
        if (name := distribution.metadata["Name"]) and re.match(r"zigai\b", name, re.IGNORECASE)
    }
    lines = [f"zig-ai {found.pop('zigai-cli', 'not installed')}"]
    lines += [f"  {name} {number}" for name, number in sorted(found.items())]
    lines.append(f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})")
    lines.append(platform.platform())
    sys.stdout.write(clean("\n".join(lines)) + "\n")
