"""`zig-ai history`: lists, shows, searches, deletes and exports stored conversations."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from zigai_cli import input_text, suggestions, whole_file
from zigai_cli.failure import InputError
from zigai_cli.options import Json
from zigai_cli.terminal.output import clean, dim, note, table
from zigai_cli.terminal.question import agrees

if TYPE_CHECKING:
    from zigai_cli.history.store import Store
    from zigai_cli.history.stored import Stored

# The modules of the store are imported in the commands: sqlite3 takes a tenth of the time of --help.

history = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="Number or title of a conversation.",
        show_default="the last one",
        autocompletion=suggestions.conversations,
    ),
]
Ids = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(
        metavar="ID",
        help="Numbers or titles of conversations; `last` is the last one.",
        autocompletion=suggestions.conversations,
    ),
]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=0, help="Most entries; 0 shows all.")]


@history.callback()
def about() -> None:
    """List, show, search, delete and export stored conversations.

    zig-ai chat stores every conversation, unless --no-history is given; zig-ai chat --id ID continues one.
    """


@history.command("list")
def list_conversations(limit: Limit = 20, as_json: Json = False) -> None:
    """List the stored conversations, the last one first."""
    from zigai_cli.history.export import when

    with _store() as store:
        entries = store.entries(limit or None)
        more = bool(limit) and len(entries) == limit and len(store.entries(limit + 1)) > limit
    if as_json:
        _print_json([entry.record() for entry in entries])
        return
    if not entries:
        note("no conversation is stored yet: zig-ai chat stores each one", sys.stderr)
        return
    rows = [
        [str(entry.id), when(entry.updated), str(entry.length), entry.about.descriptor, _line(entry.title)]
        for entry in entries
    ]
    table(rows, ["id", "last message", "messages", "model", "title"], numbers=[0, 2])
    if more:
        note(f"only the last {limit} are shown: --limit 0 shows all", sys.stderr)


@history.command()
def show(conversation: Id = "last", as_json: Json = False) -> None:
    """Show the messages of a conversation."""
    from zigai_cli.conversation.turns import text_of
    from zigai_cli.history.export import full_record, when

    with _store() as store:
        stored = store.find(conversation)
    if as_json:
        _print_json(full_record(stored))
        return
    model = stored.about.descriptor or stored.about.model or ""
    note(" · ".join(filter(None, [f"{stored.id}: {_line(stored.title)}", model, when(stored.updated)])))
    said: list[tuple[str, str, str]] = [("system", "", stored.about.system)] if stored.about.system else []
    for message in stored.messages:
        reasoning = message.get("reasoning_content")
        said.append((str(message["role"]), reasoning if isinstance(reasoning, str) else "", text_of(message)))
    for role, reasoning, text in said:
        sys.stdout.write(f"\n{dim(clean(role) + ':', sys.stdout)}\n")
        if reasoning.strip():
            sys.stdout.write(dim(clean(reasoning.strip()), sys.stdout) + "\n\n")
        sys.stdout.write(clean(text.strip("\n")) + "\n")


@history.command("search")
def search_messages(
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="Words that a message must hold.")],
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Search messages and titles.

    Found is what holds every word, also as a part of a word, whatever its case.
    """
    from dataclasses import asdict

    from zigai_cli.history.export import when
    from zigai_cli.history.search import search

    query = " ".join(input_text.encodable("a word", word) for word in words)
    with _store() as store:
        found = search(store, query, limit or None)
    if as_json:
        _print_json([asdict(each) for each in found])
    elif found:
        rows = [
            [str(each.conversation), when(each.updated), each.role, _line(each.excerpt)] for each in found
        ]
        table(rows, ["id", "last message", "role", "text"], numbers=[0])
    if not found:
        note("nothing found", sys.stderr)
        raise typer.Exit(1)


@history.command()
def rename(
    conversation: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Number or title of a conversation; `last` is the last one.",
            autocompletion=suggestions.conversations,
        ),
    ],
    title: Annotated[str, typer.Argument(metavar="TITLE", help="The new title.")],
) -> None:
    """Give a conversation another title."""
    title = input_text.encodable("the title", title)
    if not title.strip():
        raise typer.BadParameter("the title must not be empty")
    with _store() as store:
        store.rename(store.find(conversation).id, " ".join(title.split()))


@history.command()
def rm(
    conversations: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all conversations.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete conversations.

    At a terminal it asks first; elsewhere --yes is required.
    """
    from zigai_cli.history.search import forget_removed

    if everything == bool(conversations):
        raise typer.BadParameter("name the conversations to delete, or give --all")
    with _store() as store:
        chosen = store.entries() if everything else _chosen(store, conversations or [])
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("there is no terminal to ask at: --yes deletes without asking")
            for entry in chosen[:20]:
                sys.stderr.write(f"{entry.id}: {_line(entry.title)} ({entry.length} messages)\n")
            if len(chosen) > 20:
                sys.stderr.write(f"… {len(chosen)} in all\n")
            if chosen and not agrees("Delete?"):
                raise typer.Exit(1)
        removed = store.remove([entry.id for entry in chosen])
        forget_removed(store)
    note(f"deleted {removed} conversation{'s' * (removed != 1)}", sys.stderr)


@history.command()
def export(
    conversations: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Export all conversations.")] = False,
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--format",
            "-f",
            metavar="markdown|jsonl",
            help="Markdown, or JSON Lines: an object a line, one for each conversation.",
            show_default="by the name of the file, otherwise markdown",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE", help="File to write.", show_default="standard output"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write conversations to a file or to standard output.

    If none is named, it is the last one.
    """
    from zigai_cli.history import export as exported

    if everything and conversations:
        raise typer.BadParameter("name the conversations to export, or give --all")
    chosen_format = _format(kind, output)
    with _store() as store:
        if everything:
            chosen = [stored for entry in store.entries() if (stored := store.get(entry.id))][::-1]
        else:
            chosen = _chosen(store, conversations or ["last"])
    if chosen_format == exported.Format.JSONL:
        text = exported.jsonl(chosen)
    else:
        text = clean(exported.markdown(chosen))
    if output is None or str(output) == "-":
        sys.stdout.write(text)
        return
    if output.exists() and not force:
        raise InputError(f"{output}: the file exists: --force replaces it")
    with whole_file.named(output):
        if output.exists() and not output.is_file():  # a device
            output.write_text(text, encoding="utf-8", errors="replace")
        else:
            whole_file.replace(output, text.encode("utf-8", "replace"))
    note(f"wrote {len(chosen)} conversation{'s' * (len(chosen) != 1)} to {output}", sys.stderr)


def _format(kind: str | None, output: Path | None) -> str:
    from zigai_cli.history.export import Format

    if kind is None:
        return (
            Format.JSONL if output is not None and output.suffix in (".jsonl", ".json") else Format.MARKDOWN
        )
    if kind not in list(Format):
        raise typer.BadParameter(f"--format {kind}: choose {' or '.join(Format)}")
    return kind


def _store() -> Store:
    """The store. One that does not exist yet is empty, and is not made."""
    from zigai_cli.history import opening
    from zigai_cli.history.store import Store

    file = opening.path()
    if not os.path.lexists(file):
        return Store.empty()
    return Store(file, create=False)


def _chosen(store: Store, names: list[str]) -> list[Stored]:
    """The conversations of these names, each once."""
    return list({stored.id: stored for stored in map(store.find, names)}.values())


def _line(text: str) -> str:
    return clean(" ".join(text.split()))


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
