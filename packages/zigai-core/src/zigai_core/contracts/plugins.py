"""Every contract of ZigAI. Who implements one and registers it under an entry point is part of the house.

    file → FormatReader → ModelDescriptor → Architecture → Graph → Backend → Program → Session → Sampler
         → Tokenizer → text

| entry-point group      | the entry is                                | its name is                        |
|------------------------|---------------------------------------------|------------------------------------|
| `zigai.formats`        | a `FormatReader` class, called without arguments | the format's name             |
| `zigai.architectures`  | an `Architecture` function                  | `general.architecture` in the file |
| `zigai.tokenizers`     | a `TokenizerFactory`: `(TokenizerSpec) -> Tokenizer` | `TokenizerSpec.kind`      |
| `zigai.backends`       | a `Backend` class; its keywords are its own settings | what `backend=` takes     |
| `zigai.samplers`       | a `SamplerFactory`: `(SamplingOptions) -> step or None` | the step's name |
| `zigai.chat_templates` | the template's text, a Jinja string         | what `template=` takes             |
| `zigai.commands`       | a function with typer's annotations, a sub-command | the command's name          |
| `zigai.models`         | `() -> BundledModel`                        | `default`: if none is named        |
| `zigai.dtypes`         | `() -> DType`, a type that core lacks       | the storage type's name            |
| `zigai.hints`          | a `Hints` mapping: which package serves what | any                               |
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
"""Told `(bytes done, bytes in all)` while something long goes on. What it raises stops the work."""


@runtime_checkable
class FormatReader(Protocol):
    """Turns a file, or a folder of files, into a `ModelDescriptor`.

    A path is that of a regular file, which may be one part of several, or of a folder; others (pipes,
    devices) are refused before a format is asked.
    Maps tensors instead of copying them, and trusts nothing: every count, length and offset is checked
    against the file's size before it is used. What is wrong raises `FormatError` with offset and field.
    """

    def recognises(self, path: Path) -> bool:
        """Whether what lies at `path` is of this format: a glance at a few bytes or names, and no more.

        False for what cannot be read: the error is the caller's to raise.
        """
        ...

    def read(self, path: Path) -> ModelDescriptor:
        """The descriptor of the model in `path`."""
        ...


Hints = Mapping[str, Mapping[str, str]]
"""By entry-point group and name, the distribution that serves it, to tell people what to install."""


@dataclass(frozen=True)
class BundledModel:
    """A model's file that comes with an installed package."""

    path: Path
    about: str
    """What it is and what it can do, as the end of the sentence "no model is named, so this is …"."""


class Architecture(Protocol):
    """Builds the graph of a model: a function of the descriptor.

    `context` is how many tokens a sequence may hold (some RoPE scalings depend on it). A tensor that is
    missing or misshapen raises `ShapeError`; hyperparameters it has no code for, `UnsupportedError`.
    """

    def __call__(self, model: ModelDescriptor, *, context: int) -> Graph:
        """The graph; nothing is computed."""
        ...


@dataclass(frozen=True)
class TensorReport:
    """What serves one tensor: a line of `Program.report()`."""

    tensor: str
    dtype: str
    shape: tuple[int, ...]
    kernel: str
    instruction_set: str
    packing: str
    nbytes: int


@dataclass(frozen=True)
class ProgramReport:
    """How a program computes: the backend in a line, and each tensor."""

    backend: str
    summary: str
    tensors: tuple[TensorReport, ...]


@runtime_checkable
class Backend(Protocol):
    """Makes a graph executable. No hidden fall-back: what it cannot serve, it names.

    `speed` ranks the backends for `backend="auto"`: of those that serve the whole model, the highest.
    Settings of its own are keyword arguments of its class, which checks them.
    """

    name: str
    speed: int

    def ignored(self, options: CompileOptions) -> Mapping[str, str]:
        """The options among these that it does not act on, by name, and what it does in their place."""
        ...

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> Sequence[str]:
        """Each (operation, dtype) that it has no kernel for, as a line of text; empty when it serves all."""
        ...

    def compile(
        self,
        graph: Graph,
        weights: Mapping[str, TensorInfo],
        options: CompileOptions,
        progress: Progress | None = None,
    ) -> Program:
        """A program; `UnsupportedError` listing all of `missing` where that is not empty."""
        ...


@dataclass(frozen=True)
class OperationTime:
    """Where time went: seconds spent in one operation of a program, over all profiled steps."""

    operation: str
    """What it is: a graph's operation, or what a backend made of one."""
    output: str
    """The value it gives."""
    dtype: str
    """How its weight, or its cache, is stored; empty for none."""
    seconds: float


@runtime_checkable
class Program(Protocol):
    """Weights and plan, immutable: may be shared between threads and run by many contexts."""

    graph: Graph
    options: CompileOptions

    def new_context(self, sequences: int = 1) -> Context:
        """Memory to run in: scratch for a step and cache pages for `sequences` sequences of full length."""
        ...

    def report(self) -> ProgramReport:
        """What serves each tensor."""
        ...


@runtime_checkable
class SelectingProgram(Program, Protocol):
    """A program that has a faster `best` than the numpy definition, which serves the others."""

    def best(
        self, row: Array, k: int, edits: Edits | None = None, mask: NDArray[np.uint32] | None = None
    ) -> Best:
        """As `zigai_core.contracts.best.best`: the same ids and logits. May be called from many threads."""
        ...


@runtime_checkable
class Context(Protocol):
    """The state of one thread of work: the cache's pages and scratch memory. One call at a time.

    >>> outputs = context.run(batch)            # doctest: +SKIP
    >>> outputs["logits"].shape                 # doctest: +SKIP
    (1, 32000)
    """

    pages: int

    def run(self, batch: Batch) -> Mapping[str, Array]:
        """Compute one step: each output of the graph as a new float32 array `[len(batch.wanted), width]`."""
        ...

    def copy_pages(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy whole pages of every layer, each pair `(from, to)`."""
        ...

    def cancel(self) -> None:
        """From any thread: the step that runs now ends soon with `Cancelled`, and so does every other one.

        It lasts until `resume()`.
        """
        ...

    def resume(self) -> None:
        """From any thread: steps may run again."""
        ...


@runtime_checkable
class ProfilingContext(Context, Protocol):
    """A context that can say where its time goes; not every backend's can."""

    def start_profile(self) -> None:
        """Count the time of each operation from now on, from zero."""
        ...

    def profile(self) -> Sequence[OperationTime]:
        """The times so far, in the order in which operations run; empty before `start_profile`."""
        ...


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back.

    `decode` is the inverse of `encode`; `decode_bytes` is the plain concatenation of the tokens' bytes, as
    a stream of text needs it: there a token may be a part of a character, and a space that `encode` puts
    in front of a text stays.
    """

    vocabulary_size: int
    special_ids: Mapping[str, int]
    """Ids by role, as in `TokenizerSpec.special_ids`."""
    end_ids: frozenset[int]
    """Ids that end a reply."""
    control_tokens: Mapping[str, int]
    """By spelling, what must not come out of people's text: control tokens, and all that end a reply."""

    def encode(
        self,
        text: str,
        *,
        special: bool = False,
        bos: bool | None = None,
        guards: Sequence[int] = (),
    ) -> list[int]:
        """Token ids; `TokenizerError` for what cannot be encoded (a lone surrogate, say).

        `special`: whether control tokens written in the text (`</s>`) become those tokens; where False they
        are plain text. `bos`: whether the ids begin with the beginning-of-sequence token; None does as
        the file asks. `guards`: positions in the text, ascending, that no control token may stretch across.
        """
        ...

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """Text; what is no valid UTF-8 becomes U+FFFD. Control tokens are left out unless `special`."""
        ...

    def decode_bytes(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """The tokens' bytes, one after another. `TokenizerError` for an id out of range."""
        ...

    def token_text(self, token: int) -> str:
        """The token as the vocabulary spells it, for people to look at."""
        ...


TokenizerFactory = Callable[[TokenizerSpec], Tokenizer]
