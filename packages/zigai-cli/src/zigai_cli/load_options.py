"""Command-line options for loading a model, made from the fields of `LoadOptions`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, Optional, get_args, get_origin, get_type_hints

import typer

from zigai_cli import suggestions
from zigai_cli.options import pairs
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.load_options import FOR_SERVERS, LoadOptions

DEFAULTS = LoadOptions()


def with_load_options(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator that replaces the parameter `load` of a command by one option per field of `LoadOptions`.

    The command is called with `load=LoadOptions(…)`. `without` names fields that the command sets itself and
    that get no option; those for servers get none either. A value out of range is a usage error.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {
            field.name: _option(field.name, field.metadata)
            for field in LoadOptions.fields()
            if field.name not in FOR_SERVERS.union(without)
        }
        own = inspect.signature(command)
        parameters = [
            parameter
            for given in own.parameters.values()
            for parameter in (options.values() if given.name == "load" else [given])
        ]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in options}
            command(load=to_load_options(values), **given)

        hints = get_type_hints(command, include_extras=True)
        kinds = {name: option.annotation for name, option in options.items()}
        run.__annotations__ = {name: kind for name, kind in (hints | kinds).items() if name != "load"}
        run.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[each.replace(annotation=run.__annotations__[each.name]) for each in parameters]
        )
        return run

    return decorate


def to_load_options(values: Mapping[str, Any]) -> LoadOptions:
    """Options for loading from command-line values, by field; None is the default.

    Raises `typer.BadParameter` for a value out of range.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if "backend_options" in given:
        given["backend_options"] = pairs("--backend-option", given["backend_options"])
    try:
        return LoadOptions(**given)
    except UnsupportedError as error:
        raise typer.BadParameter(str(error)) from error


def flag(name: str) -> str:
    """Return the command-line option of a field of `LoadOptions`: `--kv-dtype` for `kv_dtype`."""
    return "--" + name.removesuffix("s" if name == "backend_options" else "").replace("_", "-")


def _option(name: str, metadata: Mapping[str, Any]) -> inspect.Parameter:
    """Parameter that typer turns into an option. Its default is None, for core's default."""
    option = typer.Option(
        flag(name),
        metavar=metadata["metavar"],
        help=metadata["help"],
        show_default=metadata["shown"],
        autocompletion=suggestions.OF_FIELDS.get(name),
    )
    kind: Any = Annotated[Optional[_kind(name)], option]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=kind)


@functools.cache
def _kinds() -> Mapping[str, Any]:
    return get_type_hints(LoadOptions)


def _kind(name: str) -> Any:
    """Type that typer converts a field's value to: without None; a list of strings for a mapping."""
    kind = _kinds()[name]
    if get_origin(kind) is Mapping:
        return list[str]
    given = [part for part in get_args(kind) if part is not NoneType] or [kind]
    return given[0] if given[0] in (int, float, str, bool) else str
