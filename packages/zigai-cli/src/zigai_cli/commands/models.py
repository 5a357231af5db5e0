"""`zig-ai list`, `show` and `rm`: the models on this machine."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zigai_cli import failure, suggestions
from zigai_cli.failure import InputError
from zigai_cli.options import Json
from zigai_cli.terminal.output import clean, figure, note, table
from zigai_cli.terminal.question import agrees

if TYPE_CHECKING:
    from pathlib import Path

    from zigai_core.contracts.sources import Offer, StoredModel

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A name that `zig-ai list` shows, or an alias.",
        autocompletion=suggestions.model_names,
    ),
]


def list_models(
    available: Annotated[
        bool, typer.Option("--available", help="List models that have short names, downloaded or not.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models that were downloaded by name.

    Unfinished downloads are listed, too. --available lists models that have short names.
    """
    if available:
        _list_offers(as_json)
        return
    rows = _stored()
    if as_json:
        found = [
            {"name": row.name, "path": str(row.path), "bytes": row.nbytes, "complete": row.complete}
            for row in rows
        ]
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    if not rows:
        note("no model was downloaded by name yet; zig-ai list --available shows some", sys.stderr)
        return
    listed = [
        [
            row.name,
            f"{figure(row.nbytes)}B",
            str(row.path) if row.complete else "unfinished: zig-ai pull resumes it",
        ]
        for row in rows
    ]
    table(listed, ["name", "size", "path"], numbers=[1])


def show(name: Name, as_json: Json = False) -> None:
    """Show where a downloaded model is and what it is.

    Its size and licence, and what its file holds. The model must be on this machine.
    """
    from zigai_cli.measure.summary import Summary
    from zigai_core.api.registry import Plugins
    from zigai_core.api.sources import locate
    from zigai_core.contracts.load_options import LoadOptions

    path = locate(name, pull=False)
    about = Summary(path, LoadOptions()).about()
    offer = next((offer for offer in _offers() if name in (offer.name, offer.model)), None)
    licence = _licence(path, offer, Plugins.installed())
    facts: dict[str, Any] = {
        "name": name,
        "model": offer.model if offer else name,
        "path": str(path),
        "file_bytes": about["file_bytes"],
        "licence": licence or None,
        "title": about["name"],
        "architecture": about["architecture"],
        "parameters": about["parameters"],
        "context_length": about["context_length"],
        "chat_template": bool(about["chat_template"]),
    }
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    rows = [
        ["name", f"{name} ({offer.model})" if offer and offer.model != name else name],
        ["file", f"{path} ({figure(about['file_bytes'])}B)"],
        ["licence", licence or "not told by the file"],
        ["model", f"{about['name']}: {about['architecture']}, {figure(about['parameters'])} parameters"],
        ["context length", str(about["context_length"] or "unknown")],
        ["chat template", "in the file" if about["chat_template"] else "none in the file"],
    ]
    table(rows)
    note("zig-ai inspect shows more", sys.stderr)


def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a downloaded model, or an unfinished download. A path is refused."""
    from pathlib import Path

    from zigai_core.api.calling import call
    from zigai_core.api.registry import Plugins
    from zigai_core.api.sources import resolve

    found = resolve(name, Plugins.installed())
    if isinstance(found, Path):
        raise InputError(f"{found}: is a path, not the name of a downloaded model; see zig-ai list")
    full, source, rest = found
    shown = clean(name)
    what = f"the model source {full.partition(':')[0]!r}"
    models = call(what, partial(source.stored, rest))
    if not models:
        raise InputError(f"{shown}: is not on this machine; zig-ai list shows what is")
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(f"rm {shown}: standard input is no terminal, so nobody can be asked: give --yes")
        for model in models:
            unfinished = "" if model.complete else ", unfinished"
            note(f"{model.name} ({figure(model.nbytes)}B{unfinished}): {model.path}", sys.stderr)
        if not agrees("Delete?"):
            raise typer.Exit(failure.FAILED)
    freed = call(what, partial(source.remove, rest))
    sys.stdout.write(f"deleted {shown}: {figure(freed)}B freed\n")


def _stored() -> list[StoredModel]:
    from zigai_core.api.calling import call
    from zigai_core.api.registry import Plugins
    from zigai_core.api.sources import sources

    plugins = Plugins.installed()
    _require_sources(plugins)
    return [
        model
        for prefix, source in sources(plugins).items()
        for model in call(f"the model source {prefix!r}", source.stored)
    ]


def _offers() -> list[Offer]:
    from zigai_core.api.registry import Plugins
    from zigai_core.api.sources import offers

    return offers(Plugins.installed())


def _list_offers(as_json: bool) -> None:
    from zigai_core.api.registry import Plugins

    _require_sources(Plugins.installed())
    rows = _offers()
    if as_json:
        found = [
            {
                "name": row.name,
                "model": row.model,
                "about": row.about,
                "bytes": row.nbytes or None,
                "licence": row.licence or None,
            }
            for row in rows
        ]
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    listed = [
        [row.name, f"{figure(row.nbytes)}B" if row.nbytes else "", row.licence, row.about, row.model]
        for row in rows
    ]
    table(listed, ["name", "size", "licence", "about", "model"], numbers=[1])


def _require_sources(plugins: Any) -> None:
    if not len(plugins.sources):
        raise InputError("no installed package knows models by name: pip install --upgrade zigai")


def _licence(path: Path, offer: Offer | None, plugins: Any) -> str:
    """The licence that the list of aliases tells, or else the file."""
    from zigai_core.api.reading import read

    if offer and offer.licence:
        return offer.licence
    told = read(path, plugins=plugins).metadata.get("general.license")
    return told if isinstance(told, str) else ""
