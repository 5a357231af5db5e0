"""What one rendering of an untrusted chat template may cost: counted work, bytes made, and processor time."""

from __future__ import annotations

import time
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from sys import getsizeof
from typing import Any

WORK = 400_000_000
"""Work that a rendering may do, in steps of about a nanosecond, beside what long conversations add."""
MEMORY = 16_000_000
"""Bytes that a rendering may make in all, beside what long conversations add."""
LARGEST_NUMBER = 2**61 - 2
"""Largest integer a template may compute: above it, Python's hash gives many integers the same value."""
DEEPEST = 64
"""How deep values, and calls of macros, may nest."""

_STEP = 400
_NODE = 64
_LOOK = 4_000_000
_CONTAINERS = (list, tuple, KeysView, ValuesView, ItemsView)


class RefusedError(Exception):
    """A template did what templates may not do, or more of it than they may."""


class PartsText(list[Any]):
    """A message's content given as text parts: a list that is one text where a template wants a string."""

    def __str__(self) -> str:
        return "\n".join(part["text"] for part in self)


class Items(list[Any]):
    """The result of a filter that is lazy in Jinja: true even if it is empty, as a generator is."""

    def __bool__(self) -> bool:
        return True


class Budget:
    """Counts what a rendering costs, before it is spent; `RefusedError` where that is too much.

    `given` are the variables: each of their nodes adds 0.6 ms of work, each byte 0.5 µs and 200 bytes of
    memory, so that what suffices for a short conversation suffices for a long one.
    """

    def __init__(self, given: Any) -> None:
        size, nodes = measure(given, most=2**32, deepest=2**32)
        self._work = WORK + 600_000 * nodes + 500 * size
        self._memory = MEMORY + 200 * size
        # The clock is a second bound, for machines on which a step takes more than a nanosecond.
        self._seconds = 3e-9 * self._work
        self._deadline = time.thread_time() + self._seconds
        self._next_look = self._work

    def spend(self, work: int, memory: int = 0) -> None:
        """Count steps of work and bytes of memory that are about to be spent."""
        self._work -= work + _STEP
        self._memory -= memory
        if self._work < 0:
            raise RefusedError("takes too long: it does more work than a conversation of this size may need")
        if self._memory < 0:
            raise RefusedError("makes more text and lists than a conversation of this size may need")
        if self._work < self._next_look:
            self._next_look = self._work - _LOOK
            if time.thread_time() > self._deadline:
                raise RefusedError(f"takes too long: more than {self._seconds:.1f} s of processor time")

    def weigh(self, value: Any) -> int:
        """Count going through a value once, as printing, comparing and hashing do; its size in bytes."""
        size, nodes = measure(value, most=self._memory, deepest=DEEPEST)
        self.spend(size + 100 * nodes)
        return size

    def text(self, value: Any) -> str:
        """`str(value)`, counted."""
        if isinstance(value, str):
            return value
        size = self.weigh(value)
        self.spend(4 * size, 4 * size)
        return str(value)

    def each(self, values: Iterable[Any]) -> Iterator[Any]:
        """Items one by one, each counted; those of a text are made on the way."""
        made = _NODE if isinstance(values, str) else 0
        for value in values:
            self.spend(_STEP, made)
            yield value

    def made(self, value: Any) -> Any:
        """A value that was made, counted now: for what is no larger than what it was made of."""
        if isinstance(value, int):
            return self.number(value)
        self.spend(0, getsizeof(value))
        return value

    def number(self, value: Any) -> Any:
        """A number, if it is one and not too large."""
        if not isinstance(value, (int, float)):
            raise RefusedError(f"computes with {type(value).__name__}, which is not a number")
        if isinstance(value, int) and not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
            raise RefusedError("computes an integer of more than 61 bits")
        return value

    def key(self, value: Any) -> Any:
        """A key of a mapping: no tuple, since equal hashes of tuples can be sought out."""
        if isinstance(value, tuple):
            raise RefusedError("uses a tuple as a key: keys are text, numbers, booleans or none")
        return value


def measure(value: Any, most: int, deepest: int) -> tuple[int, int]:
    """Size in bytes and number of nodes of a value as a tree: what is contained twice counts twice."""
    if type(value) is str:
        return getsizeof(value), 1
    size = nodes = depth = 0
    level = [value]
    while level:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, str):
                size += getsizeof(item)
            elif isinstance(item, _CONTAINERS):
                size += _NODE * (1 + len(item))
                if size <= most:
                    inner.extend(item)
            elif isinstance(item, Mapping):
                size += _NODE * (1 + 2 * len(item))
                if size <= most:
                    inner.extend(item.keys())
                    inner.extend(item.values())
            else:
                size += _NODE
            if size > most:
                raise RefusedError("uses a value that is too large")
        nodes += len(level)
        level = inner
        depth += 1
        if depth > deepest:
            raise RefusedError(f"uses a value that nests more than {deepest} deep")
    return size, nodes
