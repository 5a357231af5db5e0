"""A model that returns every value of its graph, for comparisons of files, backends and oracles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from zigai_core.api.loading import prepare
from zigai_core.api.output_rows import ROWS, OutputRows
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.contracts.plugins import Progress, Tokenizer
from zigai_core.ops.traced import traced


class Trace:
    """A model compiled so that it returns every value of its graph. Not thread-safe.

    The program is that of `zigai_core.api.loading.load`, from a graph that has each value as an output; a
    backend that fuses operations may compute the others less fast, but must compute the same numbers.
    """

    def __init__(
        self,
        descriptor: ModelDescriptor,
        options: LoadOptions,
        *,
        plugins: Plugins | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Compile the model. Raises what `load` does."""
        prepared = prepare(descriptor, options, plugins or Plugins.installed())
        self.descriptor = descriptor
        self.graph: Graph = prepared.graph
        self.backend = prepared.backend.name
        self.context = prepared.options.context
        """Most tokens whose values can be computed."""
        self._tokenizer = prepared.tokenizer
        compiled = prepared.options
        if not self.graph.whole_sequences:  # scratch memory for so many rows of every value at once
            compiled = replace(compiled, batch=min(compiled.batch, ROWS))
        program = replace(prepared, graph=traced(self.graph), options=compiled).compile(progress)
        self._rows = OutputRows(program)

    @property
    def widths(self) -> Mapping[str, int]:
        """The width of each value, by name, in the order of computation."""
        return {operation.output.name: operation.output.width for operation in self.graph}

    @property
    def tokenizer(self) -> Tokenizer:
        """The file's tokenizer. Raises `UnsupportedError` if the file has none."""
        if self._tokenizer is None:
            raise UnsupportedError(f"{self.descriptor.name} has no tokenizer, so it cannot read text")
        return self._tokenizer

    def values(self, tokens: Sequence[int]) -> Iterator[Mapping[str, Array]]:
        """Yields the values of some tokens after another, by name: float32 `[rows, width]`.

        Raises `ContextOverflowError` if there are more tokens than the context has room for.
        """
        return self._rows.of(tokens)
