"""What the parts of `GraphBuilder` share."""

from __future__ import annotations

from abc import ABC, abstractmethod

from zigai_core.contracts.graph import Operation, Value, Weight
from zigai_core.contracts.state import KVCache, Recurrent, State


class BuilderPart(ABC):
    """Base class of a part of `GraphBuilder`: what its methods append operations with."""

    @abstractmethod
    def has(self, tensor: str) -> bool:
        """See `GraphBuilder`."""

    @abstractmethod
    def shape(self, tensor: str) -> tuple[int, ...]:
        """See `GraphBuilder`."""

    @abstractmethod
    def state(self, name: str, spec: KVCache | Recurrent) -> State:
        """See `GraphBuilder`."""

    @abstractmethod
    def append(self, operation: Operation) -> Value:
        """See `GraphBuilder`."""

    @abstractmethod
    def _weight(self, name: str, shape: tuple[int, ...]) -> Weight: ...
