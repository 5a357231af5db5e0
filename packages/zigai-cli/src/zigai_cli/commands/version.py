"""`zig-ai version`: versions of the installed packages, Python and the system."""

from __future__ import annotations

import platform
import sys

from zigai_cli.measure.installed import packages
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


def show_version() -> None:
    """Print the versions, one per line."""
    found = packages()
    lines = [f"zig-ai {found.pop('zigai-cli', 'not installed')}"]
    lines += [f"  {name} {number}" for name, number in found.items()]
    lines.append(f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})")
    lines.append(platform.platform())
    sys.stdout.write(clean("\n".join(lines)) + "\n")
