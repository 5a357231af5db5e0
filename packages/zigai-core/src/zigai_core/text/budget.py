"""Limits on one rendering of an untrusted chat template: work, memory and processor time.

Python cannot stop a call that runs in C, so the most that an operation may cost is charged before it starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from itertools import chain
from sys import getsizeof
from typing import Any

from zigai_core.contracts.errors import TemplateError

WORK = 300_000_000
"""Steps of about a nanosecond that a rendering may take. A long conversation adds at most 700 million."""
MEMORY = 16_000_000
"""Bytes that a rendering may allocate in total. A long conversation adds at most 500 million."""
SECONDS = 1.5
"""Processor time that a rendering may take, on machines where a step takes more than a nanosecond."""
DEEPEST = 64
"""Most levels of nested values, and of nested calls."""

_STEP = 300
_LOOK = 20_000
_CONTAINERS = (list, tuple, range, Mapping, KeysView, ValuesView, ItemsView)


class RefusedError(TemplateError):
    """A template does something that templates may not do, or more of it than they may."""


class Budget:
    """The work, memory and time that one rendering has left. Methods raise `RefusedError` if one runs out.

    `variables` are the template's variables; their size sets the limits.
    """

    def __init__(self, variables: Any) -> None:
        self._deadline = time.thread_time() + SECONDS
        self._work = self._memory = self._next_look = 2**62
        size = self.weigh(variables)
        self._work = self._next_look = WORK + min(500 * size, 700_000_000)
        self._memory = MEMORY + min(300 * size, 500_000_000)

    def spend(self, work: int, memory: int = 0) -> bool:
        """Charges steps of work and bytes of memory. Returns True."""
        self._work -= work
        self._memory -= memory
        if self._work < 0:
            raise RefusedError("takes too long: it does more work than a conversation of this size may need")
        if self._memory < 0:
            raise RefusedError("makes more text and lists than a conversation of this size may need")
        if self._work < self._next_look:
            self._next_look = self._work - _LOOK
            if time.thread_time() + work / 1e9 > self._deadline:
                raise RefusedError(f"takes too long: more than {SECONDS} s of processor time")
        return True

    def run(self, work: int, memory: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a function that costs at most `work` and `memory`, then charges the size of its result."""
        self.spend(work, memory)
        result = function(*args, **kwargs)
        self._memory += memory
        return self.made(result)

    def made(self, value: Any) -> Any:
        """Charges the size of a new value and returns it. Integers have at most 61 bits."""
        if isinstance(value, (str, list, tuple, dict)):
            self.spend(0, getsizeof(value))
        # Python gives many larger integers the same hash.
        elif isinstance(value, int) and abs(value) > 2**61 - 2:
            raise RefusedError("computes an integer of more than 61 bits")
        return value

    def key(self, value: Any) -> Any:
        """Returns a value that may be hashed: not a tuple, because tuples of equal hash can be computed."""
        if isinstance(value, _CONTAINERS):
            raise RefusedError(f"uses a {type(value).__name__} as a key or an option")
        return self.made(value)

    def weigh(self, value: Any, depth: int = 0) -> int:
        """Charges one pass over a value, as for printing or comparing it; returns its size in bytes.

        A value that is contained twice counts twice.
        """
        size = getsizeof(value) if isinstance(value, str) else 64
        if isinstance(value, _CONTAINERS):
            if depth > DEEPEST:
                raise RefusedError(f"uses a value that nests more than {DEEPEST} deep")
            items = chain(value, value.values()) if isinstance(value, Mapping) else value
            size += sum(80 + self.weigh(item, depth + 1) for item in items)
        self.spend(size + _STEP)
        return size

    def text(self, value: Any) -> str:
        """`str(value)`."""
        if type(value) is str:
            return value
        size = self.weigh(value)
        return str(self.run(20 * size, 16 * size, str, value))  # `\\x80` beside a wide character takes 16

    def each(self, values: Iterable[Any], memory: int = 0) -> Iterator[Any]:
        """Yields items and charges `memory` bytes for each; more if iterating creates the items."""
        memory = 80 if isinstance(values, (str, range)) else memory
        for value in values:
            self._work -= _STEP
            self._memory -= memory
            if self._work < self._next_look:
                self.spend(0)
            yield value
