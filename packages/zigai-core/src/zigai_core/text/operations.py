"""Operators and methods of chat templates, each with its cost as a function of its arguments' sizes.

What one call in C does cannot be stopped, so it is counted before it begins: work in steps of about a
nanosecond, and bytes that it makes.
"""

from __future__ import annotations

import operator
import re
import string
from collections.abc import Callable, Iterable, Mapping, Set
from sys import getsizeof
from typing import Any

from zigai_core.text.budget import Budget, PartsText, RefusedError

_PIECE = 80
_WIDE_FORMAT = re.compile(r"%\(|%[-+ #0]*(?:\*|\d{4})|%[-+ #0]*\d{0,3}\.(?:\*|\d{4})")
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_BLANKS = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
_BLANKS += "\u2028\u2029\u202f\u205f\u3000"


def text_bytes(text: str) -> int:
    """The most bytes that the characters of a text take, written once more.

    Text that is marked as escaped (`| safe`) escapes what it is joined with.
    """
    return len(text) * (1 if text.isascii() else 4) * (1 if type(text) is str else 6)


def _scan(budget: Budget, text: str) -> None:
    budget.spend(len(text))


def _change_case(budget: Budget, text: str) -> None:
    # One character may become three, such as U+0390 in capitals.
    budget.spend(10 * len(text), text_bytes(text) * (1 if text.isascii() else 3))


def _find(budget: Budget, text: str, part: Any = "", *_: Any) -> None:
    # CPython's search is quadratic for small arguments only (Objects/stringlib/fastsearch.h).
    size = len(part) if isinstance(part, str) else budget.weigh(part)
    budget.spend(6 * len(text) + size + (len(text) * min(size, 100) if len(text) < 30_000 else 0))


def _find_back(budget: Budget, text: str, part: Any = "", *_: Any) -> None:
    budget.spend(len(text) * len(part))


def _partition(budget: Budget, text: str, part: str) -> None:
    _find(budget, text, part)
    budget.spend(0, text_bytes(text) + 3 * _PIECE)


def _partition_back(budget: Budget, text: str, part: str) -> None:
    _find_back(budget, text, part)
    budget.spend(0, text_bytes(text) + 3 * _PIECE)


def _strip(budget: Budget, text: str, chars: str | None = None) -> None:
    budget.spend(len(text) * (1 if chars is None else len(chars)), text_bytes(text))


def _split(budget: Budget, text: str, sep: str | None = None, maxsplit: int = -1) -> None:
    if sep is not None:
        _find(budget, text, sep)
    _pieces(budget, text, _count(text, _BLANKS) if sep is None else text.count(sep), maxsplit)


def _split_back(budget: Budget, text: str, sep: str | None = None, maxsplit: int = -1) -> None:
    if sep is not None:
        _find_back(budget, text, sep)
    _split(budget, text, sep, maxsplit)


def _split_lines(budget: Budget, text: str, keepends: bool = False) -> None:
    _pieces(budget, text, count_lines(text), -1)


def count_lines(text: str) -> int:
    """The most lines that `splitlines` may find."""
    return 1 + _count(text, _BREAKS)


def _count(text: str, characters: str) -> int:
    return sum(map(text.count, characters))


def _pieces(budget: Budget, text: str, splits: int, most: int) -> None:
    pieces = 1 + (splits if most < 0 else min(splits, most))
    budget.spend(3 * len(text) + 50 * pieces, text_bytes(text) + _PIECE * pieces)


def _replace(budget: Budget, text: str, old: str, new: str, count: int = -1) -> None:
    _find(budget, text, old)
    times = text.count(old)
    times = times if count < 0 else min(times, count)
    width = 1 if text.isascii() and new.isascii() else 4
    budget.spend(50 * times, (len(text) + times * len(new)) * width * (1 if type(text) is str else 6))


def _pad(budget: Budget, text: str, width: int, fill: str = " ") -> None:
    budget.spend(0, 4 * max(len(text), width) + _PIECE)


def _by_name(**costs: Callable[..., None]) -> dict[str, Callable[..., None]]:
    return {name: cost for names, cost in costs.items() for name in names.split("_")}


TEXT_COSTS: Mapping[str, Callable[..., None]] = _by_name(
    isalnum_isalpha_isascii_isdecimal_isdigit_isidentifier_islower=_scan,
    isnumeric_isprintable_isspace_istitle_isupper=_scan,
    capitalize_casefold_lower_swapcase_title_upper=_change_case,
    count_endswith_find_index_startswith=_find,
    rfind_rindex=_find_back,
    partition_removeprefix_removesuffix=_partition,
    rpartition=_partition_back,
    lstrip_rstrip_strip=_strip,
    split=_split,
    rsplit=_split_back,
    splitlines=_split_lines,
    replace=_replace,
    center_ljust_rjust_zfill=_pad,
)
"""The methods of text that a template may call, but for `join` and `format`, and what they cost."""


def call_text(budget: Budget, text: str, name: str, *args: Any, **kwargs: Any) -> Any:
    """The method `name` of a text, counted before."""
    for value in (*args, *kwargs.values()):
        if not isinstance(value, (str, int, tuple, type(None))):
            raise RefusedError(f"gives {type(value).__name__} to {name} of text")
    TEXT_COSTS[name](budget, text, *args, **kwargs)
    return getattr(text, name)(*args, **kwargs)


def join(budget: Budget, separator: str, values: Iterable[Any]) -> str:
    """The texts of values with a separator between."""
    parts = []
    for value in budget.each(values):
        parts.append(budget.text(value))
        budget.spend(len(parts[-1]), text_bytes(parts[-1]) + text_bytes(separator))
    return separator.join(parts)


class Formatter(string.Formatter):
    """`str.format` without paths into values, each field counted."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The value of a field such as `0`, `name`; one with a path into a value is refused."""
        if not field_name.isidentifier() and not field_name.isdecimal():
            raise RefusedError("formats a field that is neither a number nor a name")
        key = int(field_name) if field_name.isdecimal() else field_name
        return self.get_value(key, args, kwargs), key

    def format_field(self, value: Any, format_spec: str) -> str:
        """A field as text, at most 999 characters wider than its value."""
        if re.search(r"\d{4}", format_spec):
            raise RefusedError("formats a field wider than 999 characters")
        text = value if isinstance(value, (int, float)) else self._budget.text(value)
        self._budget.spend(0, (4000 if format_spec else 0) + getsizeof(text))
        return format(text, format_spec)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        """A field as `!s`, `!r` or `!a` writes it."""
        size = self._budget.weigh(value)
        self._budget.spend(10 * size, 10 * size)
        return super().convert_field(value, conversion)


def percent(budget: Budget, text: str, values: Any) -> None:
    """The cost of `text % values`."""
    if _WIDE_FORMAT.search(text):
        raise RefusedError("formats a field wider than 999 characters, or by name")
    wide = 4000 * text.count("%") if re.search(r"%[-+ #0.]*[1-9]", text) else 0
    budget.spend(10 * len(text), text_bytes(text) + 4 * budget.weigh(values) + wide)


def _multiply(budget: Budget, left: Any, right: Any) -> None:
    for value, times in ((left, right), (right, left)):
        if isinstance(value, (str, list, tuple)) and isinstance(times, int) and times > 0:
            each = text_bytes(value) if isinstance(value, str) else 8 * len(value)
            budget.spend(each * times // 8, each * times)


def _add(budget: Budget, left: Any, right: Any) -> None:
    for value in (left, right):
        if isinstance(value, str):
            grow = 6 if type(left) is not type(right) else 1
            budget.spend(len(value) // 8, grow * getsizeof(value))
        elif isinstance(value, (list, tuple)):
            budget.spend(len(value), 8 * len(value))


def calculate(budget: Budget, name: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """An arithmetic operator, counted before."""
    if isinstance(left, PartsText) and (isinstance(right, (str, PartsText)) or name == "%"):
        left = budget.text(left)
    if isinstance(right, PartsText) and isinstance(left, str):
        right = budget.text(right)
    if name == "*":
        _multiply(budget, left, right)
    elif name == "+":
        _add(budget, left, right)
    elif name == "%" and isinstance(left, str):
        percent(budget, left, right)
    elif isinstance(left, Set) or isinstance(right, Set):
        raise RefusedError(f"computes with {type(left).__name__} and {type(right).__name__}")
    elif name == "**" and isinstance(left, int) and isinstance(right, int) and abs(left) > 1 and right > 64:
        raise RefusedError("computes an integer of more than 61 bits")
    result = function(left, right)
    budget.spend(0)
    return budget.number(result) if isinstance(result, int) else result


_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}


def compare(budget: Budget, left: Any, *rest: Any) -> Any:
    """A chain of comparisons, `left` and then a name and a value for each, counted before."""
    result: Any = True
    for name, right in zip(rest[::2], rest[1::2], strict=True):
        if isinstance(right, PartsText) and isinstance(left, str):
            right = budget.text(right)
        if isinstance(left, PartsText) and isinstance(right, str):
            left = budget.text(left)
        _count_comparison(budget, name, left, right)
        result = _COMPARISONS[name](left, right)
        if not result:
            return result
        left = right
    return result


def _count_comparison(budget: Budget, name: str, left: Any, right: Any) -> None:
    if isinstance(right, str):
        if isinstance(left, str):
            if name in ("in", "notin"):
                _find(budget, right, left)
            else:
                budget.spend(min(len(left), len(right)))
        else:
            budget.spend(0)
    elif name in ("in", "notin"):
        if isinstance(right, (Mapping, Set)):
            budget.key(left)
        if not isinstance(right, Mapping):
            budget.spend(100 * len(right) if isinstance(right, range) else budget.weigh(right))
            budget.weigh(left)
    elif isinstance(left, (Mapping, list, tuple, Set)) and isinstance(right, (Mapping, list, tuple, Set)):
        budget.weigh(left)
        budget.weigh(right)
    else:
        budget.spend(0)
