"""The filters and tests of chat templates, each with what counts its cost.

Jinja's others (`batch`, `center`, `urlize`, `wordwrap`, …) are left out: chat templates have no use for them.
A filter that is lazy in Jinja gives a list here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from zigai_core.text.budget import DEEPEST, Budget, Items, RefusedError, measure
from zigai_core.text.operations import call_text, compare, count_lines, join, percent, text_bytes


class Environment(Protocol):
    """What a filter needs of Jinja's environment."""

    budget: Budget

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`, or `obj.argument`."""
        ...

    def call_filter(self, name: str, value: Any, args: Any = None, kwargs: Any = None) -> Any:
        """`value | name(*args, **kwargs)`."""
        ...

    def call_test(self, name: str, value: Any, args: Any = None, kwargs: Any = None) -> Any:
        """`value is name(*args, **kwargs)`."""
        ...


def _path(environment: Environment, attribute: Any) -> Callable[[Any], Any]:
    parts = [int(part) if part.isdecimal() else part for part in str(attribute).split(".")]
    if len(parts) > 16:
        raise RefusedError("follows a path of more than 16 attributes")

    def get(item: Any) -> Any:
        for part in parts:
            item = environment.getitem(item, part)
        return item

    return get


def _map(
    environment: Environment,
    value: Any,
    *args: Any,
    attribute: Any = None,
    default: Any = None,
    **kwargs: Any,
) -> Items:
    if attribute is None:
        name, *more = args
        if not isinstance(name, str) or not name.isidentifier():
            raise RefusedError("map names no filter")
        change: Callable[[Any], Any] = lambda item: environment.call_filter(name, item, more, kwargs)  # noqa: E731
    else:
        get = _path(environment, attribute)
        given = default is not None
        change = lambda item: get(item) if not given else _default(environment, get(item), default)  # noqa: E731
    return Items([change(item) for item in _each(environment, value)])


def _default(environment: Environment, value: Any, default: Any) -> Any:
    return environment.call_filter("default", value, [default])


def _chosen(environment: Environment, value: Any, keep: bool, get: Any, args: Any, kwargs: Any) -> Items:
    name, *more = args or (None,)
    chosen = Items()
    for item in _each(environment, value):
        read = get(item) if get else item
        if bool(environment.call_test(name, read, more, kwargs) if name else read) is keep:
            chosen.append(item)
    return chosen


def _select(keep: bool, environment: Environment, value: Any, *args: Any, **kwargs: Any) -> Items:
    return _chosen(environment, value, keep, None, args, kwargs)


def _select_attribute(
    keep: bool, environment: Environment, value: Any, attribute: Any, *args: Any, **kwargs: Any
) -> Items:
    return _chosen(environment, value, keep, _path(environment, attribute), args, kwargs)


def _each(environment: Environment, value: Any) -> Iterable[Any]:
    budget = environment.budget
    for item in budget.each(value or ()):
        budget.spend(0, 16)
        yield item


def _list(environment: Environment, value: Any) -> list[Any]:
    return [*_each(environment, value)]


def _reverse(environment: Environment, value: Any) -> Any:
    if isinstance(value, str):
        return environment.budget.made(value[::-1])
    return Items(_list(environment, value)[::-1])


def _items(environment: Environment, value: Any) -> Any:
    if isinstance(value, Mapping):
        return value.items()
    if environment.call_test("undefined", value):
        return Items()
    raise RefusedError("the filter items takes a mapping")


def _unique(
    environment: Environment, value: Any, case_sensitive: bool = False, attribute: Any = None
) -> Items:
    get = _path(environment, attribute) if attribute is not None else None
    seen = set()
    unique = Items()
    for item in _each(environment, value):
        key = get(item) if get else item
        if isinstance(key, str) and not case_sensitive:
            key = call_text(environment.budget, key, "lower")
        key = environment.budget.key(key)
        if key not in seen:
            environment.budget.spend(0, 64)
            seen.add(key)
            unique.append(item)
    return unique


def _join(environment: Environment, value: Any, d: Any = "", attribute: Any = None) -> str:
    budget = environment.budget
    get = _path(environment, attribute) if attribute is not None else None
    values = map(get, budget.each(value)) if get else value
    return join(budget, budget.text(d), values)


def _sum(environment: Environment, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    get = _path(environment, attribute) if attribute is not None else None
    total = environment.budget.number(start)
    for item in environment.budget.each(value):
        total = environment.budget.number(total + environment.budget.number(get(item) if get else item))
    return total


def _tojson(
    environment: Environment,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers writes it into chat templates: no HTML escapes, other scripts as they are."""
    budget = environment.budget
    width = indent if isinstance(indent, int) else len(indent or "")
    if width > 16 or any(len(separator) > 16 for separator in separators or ()):
        raise RefusedError("tojson indents or separates by more than 16 characters")
    size, nodes = measure(value, most=2**28, deepest=DEEPEST)
    budget.spend(10 * size + 2000 * nodes)
    text = []
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    for piece in encoder.iterencode(value) if size > 10_000 or width else [encoder.encode(value)]:
        budget.spend(len(piece), 16 + 4 * len(piece))
        text.append(piece)
    return "".join(text)


def _replace(environment: Environment, s: Any, old: Any, new: Any, count: int | None = None) -> Any:
    text, old, new = map(environment.budget.text, (s, old, new))
    return call_text(environment.budget, text, "replace", old, new, -1 if count is None else count)


def _text_method(name: str, environment: Environment, value: Any, *args: Any, **kwargs: Any) -> Any:
    return call_text(environment.budget, environment.budget.text(value), name, *args, **kwargs)


OWN_FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: partial(_text_method, name) for name in ("capitalize", "lower", "upper")},
    "trim": partial(_text_method, "strip"),
    "items": _items,
    "join": _join,
    "list": _list,
    "map": _map,
    "reject": partial(_select, False),
    "rejectattr": partial(_select_attribute, False),
    "replace": _replace,
    "reverse": _reverse,
    "select": partial(_select, True),
    "selectattr": partial(_select_attribute, True),
    "sum": _sum,
    "tojson": _tojson,
    "unique": _unique,
}
"""Filters that are written here; the first argument is the environment."""


def _free(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> None:
    budget.spend(0)


def _number(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> None:
    budget.number(value)


def _as_text(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> None:
    size = budget.weigh(value)
    budget.spend(20 * size, 6 * size)


def _title(budget: Budget, value: Any) -> None:
    size = budget.weigh(value)
    budget.spend(400 * size, 100 * size)  # Jinja makes a list of all words


def _short(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> None:
    if isinstance(value, str) and len(value) > 1000:
        raise RefusedError("makes a number of more than 1000 characters")


def _round(budget: Budget, value: Any, precision: Any = 0, method: Any = "common") -> None:
    budget.number(value)
    if not -30 <= budget.number(precision) <= 30:
        raise RefusedError("rounds to more than 30 digits")


def _order(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> None:
    size = budget.weigh(value) + (64 * len(value) if isinstance(value, (str, range)) else 0)
    budget.weigh([args, kwargs])
    budget.spend(30 * size, 2 * size)


def _format(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> None:
    percent(budget, budget.text(value), args)


def _indent(budget: Budget, s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> None:
    text = budget.text(s)
    by = width if isinstance(width, int) else len(width)
    lines = count_lines(text)
    budget.spend(10 * len(text) + 100 * lines, 4 * text_bytes(text) + lines * (4 * max(by, 0) + 160))


CHECKED_FILTERS: Mapping[str, Callable[..., None]] = {
    **dict.fromkeys(("attr", "count", "d", "default", "first", "last", "length", "safe"), _free),
    **dict.fromkeys(("e", "escape", "string"), _as_text),
    **dict.fromkeys(("dictsort", "max", "min", "sort"), _order),
    **dict.fromkeys(("float", "int"), _short),
    "abs": _number,
    "format": _format,
    "indent": _indent,
    "round": _round,
    "title": _title,
}
"""Filters that are Jinja's own, each with what counts or refuses a call before it is made."""


def _compare_by(name: str, environment: Environment, left: Any, right: Any) -> Any:
    return compare(environment.budget, left, name, right)


OWN_TESTS: Mapping[str, Callable[..., Any]] = {
    name: partial(_compare_by, operator)
    for operator, names in {
        "eq": "eq equalto ==",
        "ne": "ne !=",
        "lt": "lt lessthan <",
        "lteq": "le <=",
        "gt": "gt greaterthan >",
        "gteq": "ge >=",
        "in": "in",
    }.items()
    for name in names.split()
}
"""Tests that are written here; the first argument is the environment."""

CHECKED_TESTS: Mapping[str, Callable[..., None]] = {
    **dict.fromkeys(
        ("boolean", "callable", "defined", "escaped", "false", "float", "integer", "iterable", "mapping"),
        _free,
    ),
    **dict.fromkeys(("none", "number", "sameas", "sequence", "string", "true", "undefined"), _free),
    **dict.fromkeys(("lower", "upper"), _as_text),
    **dict.fromkeys(("divisibleby", "even", "odd"), _number),
}
"""Tests that are Jinja's own, each with what counts or refuses a call before it is made."""
