"""Methods, operators, filters and tests of chat templates, each with the most that it may cost.

A template has no others: chat templates have no use for Jinja's `batch`, `center`, `urlize` and the like.
Filters that are lazy in Jinja return lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from functools import partial, reduce
from types import NoneType
from typing import Any

from zigai_core.text.budget import Budget, RefusedError

_TEXT_METHODS = {
    0: "capitalize endswith format isalnum isalpha isdigit isspace join lower startswith title upper",
    100: "count find index partition removeprefix removesuffix replace split",
    2**31: "lstrip rfind rindex rpartition rsplit rstrip strip",
}
TEXT_METHODS = {name: most for most, names in _TEXT_METHODS.items() for name in names.split()}
"""Methods of text, and how many characters of a pattern they may compare with each character of the text.

CPython's forward searches are linear except for short texts or patterns (Objects/stringlib/fastsearch.h).
"""
MAPPING_METHODS = ("get", "items", "keys", "values")
TEXT_FILTERS = "capitalize lower upper"
FREE_FILTERS = "abs count d default first last length"
TEXT_FILTERS = "capitalize lower upper"
BOUNDED_FILTERS = "float indent int title"
ORDERING_FILTERS = "dictsort max min sort"
FREE_TESTS = "boolean defined false float integer iterable mapping none number sequence string true undefined"
COMPARISONS = "== eq equalto != ne < lt lessthan <= le > gt greaterthan >= ge"

# A field with a path into a value, with a width or precision above 999, or with one taken from an argument.
_REFUSED_FORMAT = re.compile(r"\{(?:[^{}:!]*[.\[]|[^{}]*\d{4}|[^{}:]*:[^{}]*\{)")
_REFUSED_PERCENT = re.compile(r"%(?:\(|[^a-zA-Z%]*(?:\d{4}|\*))")


def call_method(budget: Budget, name: str, value: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a method of a mapping, or of a value as text."""
    if name in MAPPING_METHODS:
        budget.key(args[0] if args else None)
        return getattr(value, name)(*args, **kwargs)
    text = budget.text(value)
    if name == "join":
        return join(budget, text, *args)
    if name == "format":
        memory = _format_bound(budget, text, "{", _REFUSED_FORMAT, [args, kwargs])
        return budget.run(memory // 8, memory, text.format, *args, **kwargs)
    patterns = []
    for option in (*args, *kwargs.values()):
        if isinstance(option, str):
            patterns.append(option)
        elif not isinstance(option, (int, NoneType)):
            raise RefusedError(f"passes a {type(option).__name__} to {name} of a text")
    size = sum(map(len, patterns))
    budget.spend(len(text) * (20 + min(size, TEXT_METHODS[name])) + size)
    memory = 12 * len(text)  # in another case, one character may become three, of four bytes each
    if name in ("split", "rsplit"):
        pieces = text.count(patterns[0]) if patterns and patterns[0] else len(text) // 2
        budget.spend(0, 80 * pieces)
    if name == "replace":
        memory += 4 * text.count(patterns[0]) * len(patterns[-1])
    return budget.run(0, memory, getattr(text, name), *args, **kwargs)


def join(budget: Budget, separator: str, values: Iterable[Any]) -> str:
    """Joins values as text."""
    parts = []
    for value in budget.each(values, 40):
        parts.append(budget.text(value))
        size = len(parts[-1]) + len(separator)
        budget.spend(size, 4 * size)
    return separator.join(parts)


def calculate(budget: Budget, name: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """Applies an arithmetic operator."""
    # What is added to text marked as safe is escaped: 5 characters of 4 bytes for one.
    each = 20 if name == "+" else 8
    memory = sum(each * len(value) for value in (left, right) if isinstance(value, (str, list, tuple)))
    for value in (left, right):
        if isinstance(value, Set):
            raise RefusedError(f"computes with {type(value).__name__}")
        if isinstance(value, int):
            budget.made(value)
            memory *= max(value, 1) if name == "*" else 1
    if name == "**" and isinstance(right, int) and abs(right) > 64:
        raise RefusedError("computes an integer of more than 61 bits")
    if name == "%" and isinstance(left, str):
        left, memory = str(left), _format_bound(budget, left, "%", _REFUSED_PERCENT, right)
    return budget.run(memory // 20, memory, function, left, right)


def _format_bound(budget: Budget, text: str, mark: str, refused: re.Pattern[str], values: Any) -> int:
    """Most bytes that formatting makes: each field has at most 999 characters, or the size of all values."""
    if refused.search(text):
        raise RefusedError("formats a field wider than 999 characters, or by a path or a name")
    return 12 * len(text) + text.count(mark) * (4000 + 16 * budget.weigh(values))


class Items(list[Any]):
    """The result of a filter that is lazy in Jinja: true even if it is empty, as a generator is."""

    def __bool__(self) -> bool:
        return True


class Filters:
    """The filters and tests of one environment, by name.

    `environment.filters` and `environment.tests` are Jinja's own when this is constructed.
    """

    def __init__(self, environment: Any) -> None:
        self._getitem = environment.getitem
        self._budget = budget = environment.budget
        jinja = {
            name: partial(function, environment) if hasattr(function, "jinja_pass_arg") else function
            for name, function in environment.filters.items()
        }
        tests: Mapping[str, Callable[..., Any]] = environment.tests
        self.filters: dict[str, Callable[..., Any]] = {
            **{name: jinja[name] for name in FREE_FILTERS.split()},
            **{name: partial(self._bounded, jinja[name]) for name in BOUNDED_FILTERS.split()},
            **{name: partial(self._order, jinja[name]) for name in ORDERING_FILTERS.split()},
            **{name: partial(call_method, budget, name) for name in TEXT_FILTERS.split()},
            "replace": self._replace,
            "items": lambda value: Items() if tests["undefined"](value) else value.items(),
            "join": self._join,
            "list": lambda value: budget.made([*budget.each(value, 40)]),
            "map": self._map,
            "reject": partial(self._select, False, False),
            "rejectattr": partial(self._select, False, True),
            "reverse": lambda value: budget.made(value[::-1]),
            "round": lambda value, *args: self._bounded(jinja["round"], +value, *args),  # `+`: only numbers
            "safe": lambda value: budget.made(jinja["safe"](budget.text(value))),
            "select": partial(self._select, True, False),
            "selectattr": partial(self._select, True, True),
            "string": budget.text,
            "tojson": self._tojson,
            "trim": partial(call_method, budget, "strip"),
            "unique": self._unique,
        }
        self.tests: dict[str, Callable[..., Any]] = {
            **{name: tests[name] for name in FREE_TESTS.split()},
            **{name: partial(self._compare, tests[name]) for name in COMPARISONS.split()},
            "in": lambda value, values: budget.weigh((value, values)) and value in values,
            "even": lambda value: +value % 2 == 0,
            "odd": lambda value: +value % 2 == 1,
        }

    def _bounded(self, function: Callable[..., Any], value: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls one of Jinja's own filters, whose cost grows with its value and its largest option."""
        width = 0
        for option in map(self._budget.key, (*args, *kwargs.values())):
            width = max(width, len(option) if isinstance(option, str) else abs(int(option or 0)))
        if isinstance(value, str):
            value = self._budget.text(value)
        size = self._budget.weigh(value)
        return self._budget.run(300 * size, size * (100 + 8 * width), function, value, *args, **kwargs)

    def _order(self, function: Callable[..., Any], value: Any, *args: Any, **kwargs: Any) -> Any:
        value = [*self._budget.each(value)] if isinstance(value, str) else value
        return self._bounded(function, value, *args, **kwargs)

    def _compare(self, function: Callable[..., Any], value: Any, other: Any) -> Any:
        if type(value) is not str or type(other) is not str:  # comparing two texts is one fast call
            self._budget.weigh((value, other))
        return function(value, other)

    def _path(self, attribute: Any) -> Callable[[Any], Any]:
        names = str(self._budget.key(attribute)).split(".")
        parts = [int(name) if name.isdecimal() else name for name in names]
        if len(parts) > 16:
            raise RefusedError("follows a path of more than 16 attributes")
        return lambda item: reduce(self._getitem, parts, item)

    def _named(self, table: Mapping[str, Callable[..., Any]], name: Any) -> Callable[..., Any]:
        if self._budget.key(name) not in table:
            raise RefusedError(f"uses the filter or test {name}, which does not exist")
        return table[name]

    def _items(self, values: Iterable[Any]) -> Items:
        self._budget.spend(2000)
        return Items(self._budget.made([*values]))

    def _map(self, value: Any, *args: Any, attribute: Any = None, default: Any = None, **kwargs: Any) -> Any:
        items: Iterable[Any] = self._budget.each(value or (), 40)
        if attribute is not None:
            items = map(self._path(attribute), items)
            if default is None:
                return self._items(items)
            args = ("default", default)
        function = self._named(self.filters, args[0])
        return self._items(function(item, *args[1:], **kwargs) for item in items)

    def _select(self, keep: bool, by_attribute: bool, value: Any, *args: Any, **kwargs: Any) -> Items:
        get = self._path(args[0]) if by_attribute else lambda item: item
        name, *more = args[by_attribute:] or (None,)
        test = bool if name is None else self._named(self.tests, name)
        items = self._budget.each(value or (), 8)
        return self._items([item for item in items if bool(test(get(item), *more, **kwargs)) is keep])

    def _unique(self, value: Any, case_sensitive: bool = False) -> Items:
        seen: dict[Any, Any] = {}
        for item in self._budget.each(value, 200):
            fold = isinstance(item, str) and not case_sensitive
            key = call_method(self._budget, "lower", item) if fold else self._budget.key(item)
            seen.setdefault(key, item)
        return self._items(seen.values())

    def _replace(self, value: Any, old: Any, new: Any, count: int | None = None) -> str:
        options = [self._budget.text(old), self._budget.text(new), *([] if count is None else [count])]
        return str(call_method(self._budget, "replace", value, *options))

    def _join(self, value: Any, d: Any = "", attribute: Any = None) -> str:
        values = value if attribute is None else self._map(value, attribute=attribute)
        return join(self._budget, self._budget.text(d), values)

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> Any:
        """JSON as transformers writes it into chat templates: no HTML escapes, other scripts as they are."""
        width = max([indent if isinstance(indent, int) else len(indent or ""), *map(len, separators or ())])
        size = self._budget.weigh(value)
        memory = size * (24 + 4 * width)  # an escape takes 6 characters of 4 bytes
        options = {"ensure_ascii": ensure_ascii, "indent": indent, "separators": separators}
        return self._budget.run(20 * size, memory, json.dumps, value, sort_keys=sort_keys, **options)
