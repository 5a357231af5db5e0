"""From a path to a model: file → reader → descriptor → architecture → graph → backend → program."""

from __future__ import annotations

from pathlib import Path

from zigai_core.api.model import Model
from zigai_core.api.registry import Plugins
from zigai_core.api.stored_types import complete
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, PluginError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, BundledModel, FormatReader, Progress

DEFAULT_CONTEXT = 8192
"""The context of a model that was trained with a longer one, where the caller names none."""


def load(
    path: str | Path | None = None,
    *,
    backend: str = "auto",
    threads: int | None = None,
    context: int | None = None,
    kv_dtype: str | None = None,
    packed_cache: str | Path | None = None,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
) -> Model:
    """A model that is ready to run; without a path the one that comes with `zigai`, which the log tells.

    `backend`: a registered name, or `auto` for the fastest one installed that serves the whole model
    (`Model.choice` says which). `threads`: None leaves it to the backend. `context`: tokens a conversation
    may hold; None is what the model was trained with, 8,192 at most. `kv_dtype`: how keys and values are
    kept, where the backend has the choice (F16, F32 or Q8_0, which halves what F16 takes); None is F32 for a
    model that is stored in F32, else F16. `packed_cache`: a folder where a backend that lays weights out anew
    keeps them, as large as the model again, so that the next start takes no time for it; None is none.

    Raises `FormatError` for a file that is broken, `ShapeError` for tensors that do not fit its
    architecture, `UnsupportedError` for what nothing installed serves.
    """
    plugins = plugins or Plugins.installed()
    if path is None:
        bundled = default_model(plugins=plugins)
        _tell(f"no model is named, so this is {bundled.about}. To name one: zigai.load('model.gguf')")
        path = bundled.path
    return assemble(
        read(path, plugins=plugins),
        backend=backend,
        threads=threads,
        context=context,
        kv_dtype=kv_dtype,
        packed_cache=packed_cache,
        plugins=plugins,
        progress=progress,
    )


def assemble(
    descriptor: ModelDescriptor,
    *,
    backend: str = "auto",
    threads: int | None = None,
    context: int | None = None,
    kv_dtype: str | None = None,
    packed_cache: str | Path | None = None,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
) -> Model:
    """A model of a descriptor, wherever that came from; else as `load`."""
    plugins = plugins or Plugins.installed()
    options = _compile_options(descriptor, context, threads, kv_dtype, packed_cache)
    graph = build(descriptor, context=options.context, plugins=plugins)
    spec = descriptor.tokenizer
    tokenizer = None if spec is None else plugins.tokenizers.get(spec.kind)(spec)
    if tokenizer is not None and tokenizer.vocabulary_size > graph.vocabulary_size:
        raise FormatError(
            f"{descriptor.path or descriptor.name}: the tokenizer has {tokenizer.vocabulary_size} tokens, "
            f"but the model's output has only {graph.vocabulary_size}"
        )
    chosen, choice = choose_backend(backend, graph, descriptor, plugins)
    program = chosen.compile(graph, descriptor.tensors, options, progress)
    return Model(descriptor, program, tokenizer, backend=chosen.name, choice=choice, plugins=plugins)


def default_model(*, plugins: Plugins | None = None) -> BundledModel:
    """The model that is taken where none is named. `UnsupportedError` where no package brings one."""
    plugins = plugins or Plugins.installed()
    if "default" not in plugins.models:
        raise UnsupportedError(
            "no model is named, and no installed package brings one: name a file, or install the one that "
            "comes with zigai: pip install --upgrade zigai"
        )
    bundled = plugins.models.get("default")()
    if not bundled.path.is_file():
        raise PluginError(f"the bundled model {bundled.path} is not there: reinstall the package it is of")
    return bundled


def read(path: str | Path, *, plugins: Plugins | None = None) -> ModelDescriptor:
    """The descriptor of the model in a file, by the one registered format that recognises it."""
    plugins = plugins or Plugins.installed()
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise FormatError(f"{path}: the file is empty")
    readers: dict[str, FormatReader] = {
        entry.name: plugins.formats.get(entry.name)() for entry in plugins.formats.entries()
    }
    matches = [name for name, reader in readers.items() if reader.recognises(head, path)]
    if len(matches) > 1:
        raise PluginError(f"{path}: the formats {' and '.join(matches)} both claim this file: uninstall one")
    if not matches:
        installed = ", ".join(sorted(readers)) or "none (install zigai-gguf)"
        raise FormatError(
            f"{path}: not a model file of an installed format ({installed}): at offset 0 it begins with "
            f"{head[:4]!r}"
        )
    return complete(readers[matches[0]].read(path), plugins.dtypes)


def build(descriptor: ModelDescriptor, *, context: int, plugins: Plugins | None = None) -> Graph:
    """The graph of a model, by the architecture that its file names."""
    plugins = plugins or Plugins.installed()
    graph = plugins.architectures.get(descriptor.architecture)(descriptor, context=context)
    if not isinstance(graph, Graph):
        raise PluginError(
            f"the architecture {descriptor.architecture} gave {type(graph).__name__}, not a zigai_core Graph"
        )
    return graph


def choose_backend(
    name: str, graph: Graph, descriptor: ModelDescriptor, plugins: Plugins
) -> tuple[Backend, str]:
    """The backend of that name, or the fastest that serves all of the graph, and a sentence on the choice."""
    if name != "auto":
        return plugins.backends.get(name)(), f"{name}, as asked for"
    backends: list[Backend] = [plugins.backends.get(entry.name)() for entry in plugins.backends.entries()]
    passed_over: list[str] = []
    for backend in sorted(backends, key=lambda backend: -backend.speed):
        missing = backend.missing(graph, descriptor.tensors)
        if not missing:
            why = "the fastest installed backend that serves the whole model"
            return backend, "; ".join([f"{backend.name}, {why}", *passed_over])
        passed_over.append(f"{backend.name} has no {', no '.join(missing)}")
    raise UnsupportedError(f"no installed backend serves {descriptor.name}: " + "; ".join(passed_over))


def _compile_options(
    descriptor: ModelDescriptor,
    context: int | None,
    threads: int | None,
    kv_dtype: str | None,
    packed_cache: str | Path | None,
) -> CompileOptions:
    trained = descriptor.hyperparameters.integer("context_length", DEFAULT_CONTEXT, minimum=1)
    if context is None:
        context = min(trained, DEFAULT_CONTEXT)
    if not 1 <= context <= trained:
        raise UnsupportedError(
            f"a context of {context} tokens: {descriptor.name} was trained for 1 to {trained}"
        )
    if threads is not None and threads < 1:
        raise UnsupportedError(f"{threads} threads: at least one is needed")
    if kv_dtype is None:
        whole = all(tensor.dtype.name == "F32" for tensor in descriptor.tensors.values())
        kv_dtype = "F32" if whole else "F16"
    return CompileOptions(
        context=context,
        batch=min(512, context),
        threads=threads,
        kv_dtype=kv_dtype,
        packed_cache=None if packed_cache is None else Path(packed_cache),
    )


def _tell(line: str) -> None:
    # Logging shows a warning on standard error unless a program has set it up otherwise.
    import logging

    logging.getLogger("zigai").warning(line)
