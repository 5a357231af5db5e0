"""The options of loading, made from the fields of `LoadOptions`: a command takes them as one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Optional, get_args, get_origin, get_type_hints

import typer

from zigai_cli.options import pairs
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.load_options import LoadOptions

DEFAULTS = LoadOptions()


def with_load_options(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command, in place of its parameter `load`, an option for each field of `LoadOptions`.

    `without` names fields that the command sets itself. A value out of range is a usage error.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {
            field.name: _option(field.name, field.metadata)
            for field in LoadOptions.fields()
            if field.name not in without
        }
        own = inspect.signature(command)
        parameters = [
            parameter
            for given in own.parameters.values()
            for parameter in (options.values() if given.name == "load" else [given])
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            asked = {name: given.pop(name) for name in options}
            command(load=made(asked), **given)

        hints = get_type_hints(command, include_extras=True)
        kinds = {name: option.annotation for name, option in options.items()}
        run.__annotations__ = {name: kind for name, kind in (hints | kinds).items() if name != "load"}
        run.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[each.replace(annotation=run.__annotations__[each.name]) for each in parameters]
        )
        return run

    return decorate


def made(asked: Mapping[str, Any]) -> LoadOptions:
    """The options that were given, over the defaults."""
    given = {name: value for name, value in asked.items() if value is not None}
    if "backend_options" in given:
        given["backend_options"] = pairs("--backend-option", given["backend_options"])
    try:
        return LoadOptions(**given)
    except UnsupportedError as error:
        raise typer.BadParameter(str(error)) from error


def flag(name: str) -> str:
    """How a field is spelled on the command line."""
    return "--" + name.removesuffix("s" if name == "backend_options" else "").replace("_", "-")


def _option(name: str, metadata: Mapping[str, Any]) -> inspect.Parameter:
    """The parameter that typer makes an option of; absent is None, which leaves the default to core."""
    option = typer.Option(
        flag(name), metavar=metadata["metavar"], help=metadata["help"], show_default=metadata["shown"]
    )
    kind: Any = Annotated[Optional[_kind(name)], option]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=kind)


@functools.cache
def _kinds() -> Mapping[str, Any]:
    return get_type_hints(LoadOptions)


def _kind(name: str) -> Any:
    """The type of one value: without None, and a list of texts for a mapping."""
    kind = _kinds()[name]
    if get_origin(kind) is Mapping:
        return list[str]
    given = [part for part in get_args(kind) if part is not NoneType] or [kind]
    return given[0] if given[0] in (int, float, str, bool, Path) else str
