"""`zig-ai new`: writes a package with a plugin, ready to be tested, changed and published."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from zigai_cli.options import Json, pairs
from zigai_cli.terminal.output import clean, note

# `zigai_cli.new` is imported in the commands: the templates and versions are not needed to show help.

new = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Lower-case words joined by hyphens, at most 24 characters; the package's name is zigai-NAME.",
    ),
]
Into = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER", help="Folder in which the folder zigai-NAME is made.", show_default="this one"
    ),
]


@new.callback()
def about() -> None:
    """Write a package with a plugin, ready to be tested.

    The package has an architecture, a format or a sampler step: code of one page, tests on the conformance
    suite of its kind, which pass at once, and what is needed to build and publish it.
    """


@new.command()
def architecture(
    name: Name,
    into: Into = Path(),
    registered: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--architecture",
            metavar="NAME",
            help="Name of the architecture in model files (general.architecture), at most 24 characters.",
            show_default="NAME, or the model_type of the class",
        ),
    ] = None,
    from_transformers: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="CLASS",
            help="Lay out the names of tensors and settings, and record an oracle, from a class of Hugging "
            "Face transformers, such as Phi3ForCausalLM; needs torch, transformers and a reader of folders.",
        ),
    ] = None,
    config: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="KEY=VALUE",
            help="A setting of the tiny model that --from-transformers makes; may be given several times.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a package with an architecture.

    The graph is a decoder of the LLaMA kind, written out. With --from-transformers the names and the oracle
    are those of the class, and the command says where it differs from that graph.
    """
    from zigai_cli.new import claims, naming, versions
    from zigai_cli.new.decoder import decoder_files
    from zigai_cli.new.folder import new_folder, write_files
    from zigai_cli.new.like_class import class_files, finish
    from zigai_cli.new.tiny_model import check_installed, tiny_model

    if config and from_transformers is None:
        raise typer.BadParameter("--config is a setting of the model of --from-transformers: give both")
    given = pairs("--config", config)
    package_name = naming.package_name(name)
    versions.refuse_installed(package_name.distribution)
    if registered is not None:
        naming.architecture_name("--architecture", registered)
    with new_folder(into, package_name.distribution) as folder:
        left: list[str] = []
        if from_transformers is None:
            entry = registered or package_name.name
            claims.refuse_claimed("zigai.architectures", entry, "choose another with --architecture")
            claims.refuse_claimed("zigai.huggingface", entry, "choose another with --architecture")
            write_files(folder, decoder_files(package_name, entry))
        else:
            check_installed()
            note("making a tiny model with transformers", sys.stderr)
            model = tiny_model(from_transformers, given)
            entry = registered or naming.architecture_name("the model_type", model.model_type)
            claims.refuse_claimed("zigai.architectures", entry, "choose another with --architecture")
            claims.refuse_claimed("zigai.huggingface", model.model_type, "uninstall that package first")
            write_files(folder, class_files(package_name, entry, model))
            left = finish(folder, package_name, entry, model)
        files = _files(folder)
    _report(into / package_name.distribution, f"the architecture {entry}", files, left, as_json)


@new.command("format")
def model_format(name: Name, into: Into = Path(), as_json: Json = False) -> None:
    """Write a package with a format.

    The format is a small sound one: a magic number, a header in JSON, the tensors.
    """
    _write("format", name, into, as_json)


@new.command()
def sampler(name: Name, into: Into = Path(), as_json: Json = False) -> None:
    """Write a package with a sampler step.

    The step removes tokens that are much less likely than the most likely one.
    """
    _write("sampler", name, into, as_json)


def _write(kind: str, name: str, into: Path, as_json: bool) -> None:
    from zigai_cli.new import claims, naming, small_packages, versions
    from zigai_cli.new.folder import new_folder, write_files

    package_name = naming.package_name(name, has_function=kind != "format")
    versions.refuse_installed(package_name.distribution)
    made = small_packages.KINDS[kind](package_name)
    claims.refuse_claimed(made.group, made.entry, "choose another NAME")
    with new_folder(into, package_name.distribution) as folder:
        write_files(folder, made.files)
        files = _files(folder)
    _report(into / package_name.distribution, f"{made.noun} {made.entry}", files, [], as_json)


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _report(folder: Path, what: str, files: list[str], left: list[str], as_json: bool) -> None:
    """Print what was written, and what is left to do."""
    if as_json:
        found = {"folder": str(folder), "files": files, "left": left}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    lines = [f"{folder}: {what}, in {len(files)} files", *(f"  {each}" for each in files)]
    if left:
        lines += ["left to do, in this order:", *(f"  {each}" for each in left)]
    lines += ["its tests:", f"  cd {shlex.quote(str(folder))} && python -m pip install nox && nox -s tests"]
    sys.stdout.write(clean("\n".join(lines)) + "\n")
