"""`zig-ai version`: versions of the installed packages, Python and the system."""

from __future__ import annotations

import platform
import re
import sys

from zigai_cli.options import Json
from zigai_cli.terminal.output import clean


def version(as_json: Json = False) -> None:
    """Show the versions of zigai, Python and the system."""
    if not as_json:
        show_version()
        return
    import json

    answer = {
        "packages": packages(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "executable": sys.executable,
        "system": platform.platform(),
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def packages() -> dict[str, str]:
    """Versions of the installed zigai packages, by name."""
    from importlib import metadata

    found = {
        re.sub(r"[-_.]+", "-", name).lower(): distribution.version
        for distribution in metadata.distributions()
        # A distribution whose metadata is broken has no name.
        if (name := distribution.metadata["Name"]) and re.match(r"zigai\b", name, re.IGNORECASE)
    }
    return dict(sorted(found.items()))


def show_version() -> None:
    """Print the versions, one per line."""
    found = packages()
    lines = [f"zig-ai {found.pop('zigai-cli', 'not installed')}"]
    lines += [f"  {name} {number}" for name, number in found.items()]
    lines.append(f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})")
    lines.append(platform.platform())
    sys.stdout.write(clean("\n".join(lines)) + "\n")
