"""A graph divided into sections: layers that are alike are one section."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from zigai_core.contracts.graph import Graph, Operation, Value, Weight
from zigai_core.contracts.state import State

_LAYER = re.compile(r"^(.*?)(\d+)\.")


@dataclass(frozen=True)
class Section:
    """Operations that follow one another; `layers` are the numbers of the layers that have the same ones.

    `operations` are those of the first of these layers. Without layers the section is computed once. `prefix`
    begins the names of the layer's own values.
    """

    operations: Sequence[Operation]
    layers: Sequence[int] = ()
    prefix: str = ""

    @property
    def title(self) -> str:
        """The layers in words; empty for a section without."""
        if not self.layers:
            return ""
        if len(self.layers) == 1:
            return f"layer {self.layers[0]}"
        return f"{len(self.layers)} layers alike: {ranges(self.layers)}"

    def short(self, name: str) -> str:
        """A name without the prefix of the section's layer."""
        return name.removeprefix(self.prefix) if self.prefix else name


def sections(graph: Graph) -> list[Section]:
    """The sections of a graph, in the order of their first operations.

    Operations whose values are named `blk.3.…` (any text, a number, a dot) make up layer 3. Layers are alike
    if they have the same operations with the same attributes on values and weights of the same names, shapes
    and widths, apart from the layer's number.
    """
    runs: list[tuple[str, list[Operation]]] = []
    for operation in graph:
        found = _LAYER.match(operation.output.name)
        prefix = found[0] if found else ""
        if not runs or runs[-1][0] != prefix:
            runs.append((prefix, []))
        runs[-1][1].append(operation)
    kinds: dict[Any, Section] = {}
    for prefix, operations in runs:
        if not prefix:
            kinds[len(kinds)] = Section(operations)
            continue
        found = _LAYER.match(prefix)
        assert found is not None
        key = (found[1], *(_kind(operation, prefix) for operation in operations))
        like = kinds.get(key)
        number = int(found[2])
        if like is None:
            kinds[key] = Section(operations, (number,), prefix)
        else:
            kinds[key] = Section(like.operations, (*like.layers, number), like.prefix)
    return list(kinds.values())


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _kind(operation: Operation, prefix: str) -> Any:
    """A key that is equal for operations of two layers that are alike."""
    parts: list[Any] = [type(operation)]
    for field in fields(operation):
        given = getattr(operation, field.name)
        if isinstance(given, Value):
            own = given.name.startswith(prefix)
            parts.append((given.name.removeprefix(prefix) if own else "", given.width, given.rows))
        elif isinstance(given, Weight):
            parts.append((given.name.removeprefix(prefix), given.shape))
        elif isinstance(given, State):
            parts.append(repr(given.spec))
        else:
            parts.append(repr(given))
    return tuple(parts)
