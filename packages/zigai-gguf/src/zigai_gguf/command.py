"""`zig-ai gguf` and `zig-ai convert`. Imported by zigai-cli only, which brings typer."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from zigai_core.api import reading
from zigai_core.api.registry import Plugins
from zigai_core.api.sources import locate
from zigai_core.api.target_type import told
from zigai_core.contracts.errors import FormatError, escape
from zigai_gguf import edit
from zigai_gguf.conversion import encoded_again
from zigai_gguf.convert import TYPES
from zigai_gguf.convert import convert as write
from zigai_gguf.known_keys import check_present
from zigai_gguf.listing import as_text, json_text, type_name
from zigai_gguf.llama_cpp import ignored_by_llama_cpp
from zigai_gguf.parts import open_model
from zigai_gguf.scored import differences
from zigai_gguf.values import Typed, ValueType

gguf = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Model = Annotated[Path, typer.Argument(metavar="FILE", help="The model; of several files, any.")]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", metavar="FILE", help="The file to write.", show_default="FILE itself"),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Write the file even if ZigAI would not open it, or not build its graph, any more: for other "
        "programs, such as llama.cpp.",
    ),
]
_SIZE = re.compile(r"(\d+)([KMG]?)")


@gguf.callback()
def about() -> None:
    """Show, split, merge and edit GGUF files.

    A file is replaced only after all bytes of the new one are written.
    """


@gguf.command()
def show(
    file: Model,
    keys: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="KEY", help="Keys to show.", show_default="all"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, with whole arrays and texts.")] = False,
) -> None:
    """Show metadata: keys, types and values.

    Of an array the first elements are shown, and of a text its beginning and end, unless its KEY is given.
    """
    metadata = open_model(file).metadata
    check_present(file, keys or (), metadata)
    chosen = list(dict.fromkeys(keys or metadata))
    if as_json:
        for piece in json_text(metadata, chosen):
            sys.stdout.write(piece)
        return
    lines = [(escape(key), metadata.typed_value(key)) for key in chosen]
    first, second = (
        max((len(text) for text in column), default=0)
        for column in ([key for key, _ in lines], [type_name(value) for _, value in lines])
    )
    for key, value in lines:
        sys.stdout.write(f"{key:{first}}  {type_name(value):{second}}  ")
        for piece in as_text(value, whole=bool(keys)):
            sys.stdout.write(piece)
        sys.stdout.write("\n")


@gguf.command()
def split(
    file: Model,
    prefix: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(
            metavar="PREFIX", help="Beginning of the parts' names.", show_default="FILE without .gguf"
        ),
    ] = None,
    max_size: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="SIZE", help="Most bytes of tensors in a part, such as 2G or 500M."),
    ] = None,
    max_tensors: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", min=1, help="Most tensors in a part."),
    ] = None,
) -> None:
    """Write a model as several files.

    They are PREFIX-00001-of-00003.gguf and so on. Any of them opens the model, in llama.cpp the first.
    """
    if max_size is None and max_tensors is None:
        raise typer.BadParameter("give the size of the parts: --max-size 2G, or --max-tensors N")
    name = file.with_suffix("") if prefix is None else prefix
    paths = edit.split(
        file,
        name,
        max_bytes=None if max_size is None else _bytes(max_size),
        max_tensors=max_tensors,
        progress=_progress(),
    )
    for path in paths:
        typer.echo(path)


@gguf.command()
def merge(
    file: Model, out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")]
) -> None:
    """Write a model in several files as one."""
    _refuse_existing(out)
    edit.merge(file, out, progress=_progress())


@gguf.command("set")
def set_values(
    file: Model,
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE", help="A key and its value: JSON, or else the text itself; [..] is an array."
        ),
    ],
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Type of the values (UINT32, FLOAT32, STRING, …), for arrays of their elements.",
            show_default="that of the file, else by the value",
        ),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Add keys that look like a mistake in the name of another.")
    ] = False,
    force: Force = False,
    output: Output = None,
) -> None:
    """Set metadata.

    zig-ai gguf show FILE shows the keys that a model has.
    """
    changed: dict[str, Any] = {}
    for part in values:
        key, sign, text = part.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"{escape(part)}: give KEY=VALUE")
        if key in changed:
            raise typer.BadParameter(f"{escape(key)} is given twice")
        value = _value(text)
        changed[key] = value if kind is None else Typed(_kind(kind), value)
    edit.set_metadata(file, changed, _target(file, output), new=new, force=force, progress=_progress())


@gguf.command()
def remove(
    file: Model,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="Keys to remove.")],
    force: Force = False,
    output: Output = None,
) -> None:
    """Remove metadata."""
    edit.remove_metadata(file, keys, _target(file, output), force=force, progress=_progress())


def convert(
    model: Annotated[
        str, typer.Argument(metavar="IN", help="The model: a folder of Hugging Face, or a file.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="The file to write.")],
    kind: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--type",
            metavar="|".join(TYPES),
            help="Type of the matrices; vectors, such as norms, are F32. With Q4_0 and Q4_K, output.weight "
            "and token_embd.weight are Q8_0: 4 bits would cost the most accuracy there.",
            show_default="as they are stored",
        ),
    ] = None,
) -> None:
    """Write a model as a GGUF file."""
    _refuse_existing(out)
    plugins = Plugins.installed()
    descriptor = reading.read(locate(model, plugins=plugins), plugins=plugins)
    spec = descriptor.tokenizer
    without = ["the model has no tokenizer, so the file has none: it can neither read nor write text"]
    notes = [
        *(without if spec is None else differences(spec, descriptor.architecture)),
        *ignored_by_llama_cpp(descriptor),
    ]
    dtype = None if kind is None else kind.upper()
    if dtype in TYPES:
        notes += filter(None, [told(descriptor.tensors.values(), dtype), encoded_again(descriptor, dtype)])
    for note in notes:
        sys.stderr.write(f"zig-ai: {note}\n")
    write(descriptor, out, dtype=dtype, progress=_progress(), plugins=plugins, overwrite=False)
    types = Counter(tensor.dtype.name for tensor in open_model(out).tensors.values())
    listed = ", ".join(f"{count} {name}" for name, count in types.most_common())
    typer.echo(f"{out}: {out.stat().st_size / 1e6:,.1f} MB; tensors: {listed}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _kind(name: str) -> ValueType:
    known = [kind.name for kind in ValueType if kind is not ValueType.ARRAY]
    if name.upper() not in known:
        raise typer.BadParameter(f"--type {escape(name)}: choose one of {', '.join(known)}")
    return ValueType[name.upper()]


def _bytes(size: str) -> int:
    found = _SIZE.fullmatch(size.strip().upper().removesuffix("B"))
    if found is None or not int(found[1]):
        raise typer.BadParameter(f"--max-size {escape(size)}: give a number of bytes, such as 2G or 500M")
    return int(found[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[found[2]]


def _target(file: Path, output: Path | None) -> Path:
    if output is not None:
        _refuse_existing(output)
        return output
    if open_model(file).parts:
        raise FormatError(f"{file}: the model is in several files: name the one to write with --output")
    return file


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FormatError(f"{path}: exists already: remove it, or choose another name")


def _progress() -> edit.Progress | None:
    """A line of progress on a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\r\x1b[K" if done == total else ""
        sys.stderr.write(f"\r{done / 1e6:,.0f} of {total / 1e6:,.0f} MB{end}")
        sys.stderr.flush()

    return show
