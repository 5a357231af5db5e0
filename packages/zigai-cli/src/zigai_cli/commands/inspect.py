"""`zig-ai inspect`: shows what a model file holds, and which installed plugins serve it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from zigai_cli import loader, options, whole_file
from zigai_cli.load_options import DEFAULTS, flag, with_load_options
from zigai_cli.loader import LoadProgress
from zigai_cli.terminal.output import figure, note, table
from zigai_core.contracts.errors import escape
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_cli.measure.summary import Summary


@with_load_options()
def inspect(
    ctx: typer.Context,
    path: options.ModelArgument = None,
    model: options.ModelAgain = None,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="List every tensor instead of a sum per storage type.")
    ] = False,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Compile the model and show which kernel serves each tensor.")
    ] = False,
    graph: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Draw the model's graph, layers that are alike once, and print nothing: .svg, .dot or .txt.",
        ),
    ] = None,
    load: LoadOptions = DEFAULTS,
    as_json: options.Json = False,
) -> None:
    """Show what a model file holds and which plugins would run it.

    Only the plugin of the file format is required: any other that is missing is shown as missing. The options
    that say how to load and compile a model require --kernels, except --context and --unread.
    """
    if path is not None and model is not None:
        raise typer.BadParameter("the model is given twice: as an argument and as --model")
    if not kernels:
        for field in load.fields():
            source = ctx.get_parameter_source(field.name)
            given = source is not None and source.name == "COMMANDLINE"  # and not in the user's settings
            changed = getattr(load, field.name) != getattr(DEFAULTS, field.name)
            if field.name not in ("context", "unread") and given and changed:
                raise typer.BadParameter(
                    f"{flag(field.name)} has no effect without --kernels, which compiles the model"
                )
    if graph is not None:
        whole_file.check_folder("--graph", graph)
    if graph is not None and (tensors or kernels or as_json):
        raise typer.BadParameter(
            "--graph writes a picture: --tensors, --kernels and --json do not apply to it"
        )
    from zigai_cli.measure.summary import Summary

    file = loader.choose(model if path is None else path)
    summary = Summary(file, load)
    if graph is not None:
        _draw(summary, graph)
        return
    if as_json:
        answer = summary.about() | {"types": summary.types(), "served_by": summary.served_by()}
        if tensors:
            answer["tensors"] = summary.tensors()
        if kernels:
            answer["kernels"] = _compile(summary, file)
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    table(_about(summary.about()))
    sys.stdout.write("\n")
    if tensors:
        rows = [
            [row["name"], "×".join(map(str, row["shape"])), row["type"], f"{row['bytes']:,}"]
            for row in summary.tensors()
        ]
        table(rows, ["tensor", "shape", "type", "bytes"], numbers=[3])
    else:
        rows = [
            [row["type"], f"{row['tensors']:,}", f"{row['elements']:,}", f"{row['bytes']:,}"]
            for row in summary.types()
        ]
        table(rows, ["type", "tensors", "elements", "bytes"], numbers=[1, 2, 3])
    sys.stdout.write("\n")
    table(_served_by(summary.served_by()), ["needs", "served by"])
    if kernels:
        sys.stdout.write("\n")
        sys.stdout.flush()
        _show_kernels(_compile(summary, file))


def _draw(summary: Summary, out: Path) -> None:
    from zigai_cli.measure.graph_picture import SUFFIXES, GraphPicture

    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise typer.BadParameter(f"--graph {out}: give a name that ends in {', '.join(SUFFIXES)}")
    model = summary.model
    title = f"{model.name} ({escape(model.architecture)}, {figure(model.parameters)} parameters)"
    with whole_file.named(out):
        out.write_text(GraphPicture(summary.graph(), model.tensors, title).draw(suffix), encoding="utf-8")
    note(f"{title} drawn into {out}", sys.stderr)


def _compile(summary: Summary, path: Path) -> dict[str, Any]:
    with LoadProgress(path.name) as progress:
        return summary.kernels(progress)


def _about(about: Mapping[str, Any]) -> list[list[str]]:
    rows = [
        ["name", about["name"]],
        ["file", f"{about['path']} ({about['format']}, {figure(about['file_bytes'])}B)"],
        ["architecture", escape(about["architecture"])],
        ["parameters", f"{about['parameters']:,} ({figure(about['parameters'])})"],
        ["tensor bytes", f"{about['bytes']:,}"],
        ["context length", _short(about["context_length"])],
    ]
    spec = about["tokenizer"]
    if spec is None:
        rows.append(["tokenizer", "none in the file"])
    else:
        kind = spec["kind"] + (f", {spec['pre_tokenizer']}" if spec["pre_tokenizer"] else "")
        roles = ", ".join(f"{role} {token}" for role, token in spec["special_ids"].items())
        rows.append(["tokenizer", f"{kind}: {spec['size']:,} tokens" + (f" ({roles})" if roles else "")])
    template = about["chat_template"]
    rows.append(
        ["chat template", f"in the file, {len(template):,} characters" if template else "none in the file"]
    )
    defaults = [f"{name} {_short(value)}" for name, value in about["sampling"].items()]
    rows.append(["sampling", ", ".join(defaults) or "no defaults in the file"])
    rows += [
        [f"  {key}", _short(value)]
        for key, value in about["hyperparameters"].items()
        if key != "context_length"
    ]
    return rows


def _served_by(served: Mapping[str, Any]) -> list[list[str]]:
    rows = [["architecture", _provider(served["architecture"])]]
    if served["tokenizer"] is not None:
        rows.append(["tokenizer", _provider(served["tokenizer"])])
    if served["graph_error"] is not None and served["graph_error"] != served["architecture"]["error"]:
        rows.append(["graph", f"CANNOT be built: {served['graph_error']}"])
    for row in served["backends"]:
        if row["error"] is None and row["missing"]:
            what = f"{_provider(row)}: LACKS {', '.join(row['missing'])}"
        elif row["error"] is None:
            what = f"{_provider(row)}: serves the whole model"
        else:
            what = _provider(row)
        rows.append(
            [
                f"backend {row['name']}",
                what + (" (chosen by auto)" if row["name"] == served["chosen"] else ""),
            ]
        )
    return rows


def _provider(row: Mapping[str, Any]) -> str:
    if row["error"] is not None:
        return f"MISSING: {row['error']}"
    return f"{row['distribution']} {row['version']}"


def _show_kernels(report: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{report['choice']}\n{report['summary']}\n")
    rows = [
        [
            row["tensor"],
            row["type"],
            "×".join(map(str, row["shape"])),
            row["kernel"],
            row["instruction_set"],
            row["packing"],
            f"{row['bytes']:,}",
        ]
        for row in report["tensors"]
    ]
    table(rows, ["tensor", "type", "shape", "kernel", "instructions", "packing", "bytes"], numbers=[6])


def _short(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        head = ", ".join(map(str, value[:6]))
        return f"[{head}, … {len(value)} in all]" if len(value) > 6 else f"[{head}]"
    if isinstance(value, float):
        return f"{value:.6g}"  # float32 has about seven significant digits
    return "unknown" if value is None else escape(str(value))
