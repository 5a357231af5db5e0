"""The filters of chat templates: Jinja's own where they take linear time and space, else with bounds.

Jinja's others (`center`, `urlize`, `wordwrap`, …) are left out: no chat template has a use for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from jinja2 import pass_context
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.filters import FILTERS as BUILT_IN
from jinja2.runtime import Context

if TYPE_CHECKING:
    from zigai_core.text.template_sandbox import Sandbox

_PLAIN = """
    abs attr batch capitalize count d default dictsort e escape first float groupby items last length list
    lower max min reverse safe sort string title trim unique upper wordcount
"""
_WIDE_FORMAT = re.compile(r"%\(|%[-+ #0]*(?:\*|\d{4})|%[-+ #0]*\d{0,3}\.(?:\*|\d{4})")


def check_format(text: str) -> None:
    """Refuse a `%` format that pads to more than 999 characters."""
    if _WIDE_FORMAT.search(text):
        raise SecurityError("a format is wider than 999 characters, or takes its width or values by name")


def _each(context: Context, value: Iterable[Any]) -> Iterator[Any]:
    """The items of what a lazy filter goes through, with a look at the clock for each."""
    sandbox = _sandbox(context)
    for item in value or ():
        sandbox.tick()
        yield item


def _sandbox(context: Context) -> Sandbox:
    return cast("Sandbox", context.environment)


def _lazy(name: str) -> Callable[..., Any]:
    @pass_context
    def lazy(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        return BUILT_IN[name](context, _each(context, value), *args, **kwargs)

    return lazy


@pass_context
def _join(context: Context, value: Any, d: str = "", attribute: Any = None) -> str:
    sandbox = _sandbox(context)
    if attribute is not None:
        value = sandbox.checked(_lazy("map")(context, value, attribute=attribute))
    separator = sandbox.text(d)
    parts: list[str] = []
    size = 0
    for item in _each(context, value):
        parts.append(sandbox.text(item))
        size += len(parts[-1]) + len(separator)
        sandbox.check_size(size)
    return separator.join(parts)


@pass_context
def _replace(context: Context, s: Any, old: Any, new: Any, count: int | None = None) -> Any:
    sandbox = _sandbox(context)
    text = sandbox.text(s)
    sandbox.check_replace(text, old, new, count)
    return BUILT_IN["replace"](context.eval_ctx, text, old, new, count)


@pass_context
def _indent(context: Context, s: Any, width: Any = 4, first: bool = False, blank: bool = False) -> Any:
    sandbox = _sandbox(context)
    text = sandbox.text(s)
    by = width if isinstance(width, int) else len(width)
    sandbox.check_size(len(text) + (text.count("\n") + 1) * by)
    return BUILT_IN["indent"](text, width, first, blank)


@pass_context
def _tojson(
    context: Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers writes it into chat templates: no HTML escapes, other scripts as they are."""
    sandbox = _sandbox(context)
    if isinstance(indent, int) and indent > 16:
        raise TemplateRuntimeError(f"tojson indents by {indent}; 16 is the most")
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return sandbox.concat(_each(context, encoder.iterencode(sandbox.checked(value))))


def _format(value: Any, *args: Any, **kwargs: Any) -> Any:
    check_format(str(value))
    return BUILT_IN["format"](value, *args, **kwargs)


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    if not -30 <= precision <= 30:
        raise TemplateRuntimeError(f"rounds to {precision} digits; 30 are the most")
    return BUILT_IN["round"](value, precision, method)


def _int(value: Any, default: int = 0, base: int = 10) -> Any:
    if isinstance(value, str) and len(value) > 1000:
        raise TemplateRuntimeError("makes a number of more than 1000 characters")
    return BUILT_IN["int"](value, default, base)


@pass_context
def _sum(context: Context, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise TemplateRuntimeError("sum adds numbers only")
    return BUILT_IN["sum"](context.environment, iterable, attribute, start)


FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **{name: BUILT_IN[name] for name in _PLAIN.split()},
        **{name: _lazy(name) for name in ("map", "select", "reject", "selectattr", "rejectattr")},
        "format": _format,
        "indent": _indent,
        "int": _int,
        "join": _join,
        "replace": _replace,
        "round": _round,
        "sum": _sum,
        "tojson": _tojson,
    }
)
"""All filters that a template has."""
