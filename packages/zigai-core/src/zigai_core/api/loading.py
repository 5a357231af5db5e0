"""Loads models: file → format reader → descriptor → architecture → graph → backend → program."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, TypeVar

from zigai_core.api.backends import choose_backend, tell_ignored
from zigai_core.api.calling import call
from zigai_core.api.model import Model
from zigai_core.api.quantizing import quantized
from zigai_core.api.reading import read
from zigai_core.api.registry import Plugins
from zigai_core.api.sources import locate
from zigai_core.api.unread import check_unread
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, PluginError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, BundledModel, Program, Progress, Tokenizer
from zigai_core.engine.request import Budget
from zigai_core.engine.sizes import plan_sizes

__all__ = ["Prepared", "assemble", "build", "default_model", "load", "plan", "prepare", "read"]

LOG = logging.getLogger("zigai")

DEFAULT_CONTEXT = 8192
"""Default context in tokens of a model that was trained with a longer one."""

KEYWORDS = ("plugins", "progress")
"""Keywords of `load` and `assemble` besides the fields of `LoadOptions`."""

F = TypeVar("F", bound=Callable[..., Any])


def _with_load_options(function: F) -> F:
    """Decorator that adds the fields of `LoadOptions` as keywords to a function's signature and docstring."""
    own = signature(function)
    options = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=parameter.default, annotation=field.type)
        for field, parameter in zip(
            LoadOptions.fields(), signature(LoadOptions).parameters.values(), strict=True
        )
    ]
    rest = [given for given in own.parameters.values() if given.kind is not Parameter.VAR_KEYWORD]
    lines = [
        f"    `{field.name}`: {field.metadata['help']} Default: {field.metadata['shown']}."
        for field in LoadOptions.fields()
    ]
    function.__signature__ = own.replace(parameters=[*rest, *options])  # type: ignore[attr-defined]
    function.__doc__ = "\n".join([(function.__doc__ or "").rstrip(), "", *lines, "    "])
    return function


@_with_load_options
def load(
    path: str | Path | None = None,
    *,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Model:
    """Loads a model. Without a path it is the bundled one of an installed package, and a warning names it.

    `path`: a file, one part of several, or a folder, as the installed formats read them; or the name of a
    model, such as `hf:owner/repository` or an alias, which is downloaded if it is not here. `Model.choice`
    names the backend and the reason for the choice.

    Raises `FormatError` for a damaged file, `ShapeError` for tensors that do not fit the architecture,
    `UnsupportedError` for a model that no installed plugin serves and for options out of range, `PluginError`
    for a faulty plugin.
    """
    given = LoadOptions.of_call("load", options, KEYWORDS)  # checked before the file is opened
    plugins = plugins or Plugins.installed()
    if path is None:
        bundled = default_model(plugins=plugins)
        LOG.warning(
            "no model is named, so this is %s. To name one: zigai.load('model.gguf')%s",
            bundled.about,
            f". A real one, in a terminal: {bundled.larger}" if bundled.larger else "",
        )
        path = bundled.path
    return _finish(read(locate(path, plugins=plugins), plugins=plugins), given, plugins, progress)


@_with_load_options
def assemble(
    descriptor: ModelDescriptor,
    *,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Model:
    """Makes a model from a descriptor, which need not come from a file; otherwise as `load`."""
    given = LoadOptions.of_call("assemble", options, KEYWORDS)
    return _finish(descriptor, given, plugins or Plugins.installed(), progress)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model before its weights are read: graph, tokenizer, backend, and options for compiling."""

    descriptor: ModelDescriptor
    graph: Graph
    tokenizer: Tokenizer | None
    backend: Backend
    choice: str
    options: CompileOptions

    def compile(self, progress: Progress | None = None) -> Program:
        """Compiles the graph. Reads the weights."""
        return self.backend.compile(self.graph, self.descriptor.tensors, self.options, progress)


def prepare(descriptor: ModelDescriptor, options: LoadOptions, plugins: Plugins) -> Prepared:
    """Builds the graph, makes the tokenizer and chooses the backend of a model, with the checks of `load`."""
    if options.quantize is not None:
        descriptor = quantized(descriptor, options.quantize, plugins, options.threads)
    compiled = plan(descriptor, options)
    graph = build(descriptor, context=compiled.context, unread=options.unread, plugins=plugins)
    if graph.whole_sequences:  # each text is computed in one step, so a step must hold the longest
        compiled = replace(compiled, batch=compiled.context)
    spec = descriptor.tokenizer
    tokenizer = (
        None
        if spec is None
        else call(f"the tokenizer {spec.kind!r}", partial(plugins.tokenizers.get(spec.kind), spec))
    )
    _check_vocabulary(descriptor, graph, tokenizer)
    backend, choice = choose_backend(options, graph, descriptor, plugins)
    tell_ignored(backend, options, compiled)
    return Prepared(descriptor, graph, tokenizer, backend, choice, compiled)


def plan(descriptor: ModelDescriptor, options: LoadOptions) -> CompileOptions:
    """Options for compiling a model. Raises `UnsupportedError` for a context longer than the trained one."""
    trained = descriptor.hyperparameters.integer("context_length", DEFAULT_CONTEXT, minimum=1)
    context = min(trained, DEFAULT_CONTEXT) if options.context is None else options.context
    if context > trained:
        raise UnsupportedError(
            f"a context of {context} tokens: {descriptor.name} was trained for 1 to {trained}"
        )
    float32 = all(tensor.dtype.name == "F32" for tensor in descriptor.tensors.values())
    return CompileOptions(
        context=context,
        batch=min(512, context),
        threads=options.threads,
        kv_dtype=options.kv_dtype or ("F32" if float32 else "F16"),
    )


def build(
    descriptor: ModelDescriptor, *, context: int, unread: str = "error", plugins: Plugins | None = None
) -> Graph:
    """Builds the graph of a model with the architecture that its descriptor names.

    Raises `UnsupportedError` for tensors and hyperparameters that the architecture should read but does not;
    with `unread="warn"` they are logged instead.
    """
    plugins = plugins or Plugins.installed()
    name = descriptor.architecture
    hp = descriptor.hyperparameters.tracked()
    given = replace(descriptor, hyperparameters=hp)
    architecture = plugins.architectures.get(name)
    graph: Any = call(f"the architecture {name!r}", partial(architecture, given, context=context))
    if not isinstance(graph, Graph):
        raise PluginError(f"the architecture {name} returned {type(graph).__name__}, not a zigai_core Graph")
    check_unread(descriptor, hp, graph, context=context, how=unread)
    return graph


def default_model(*, plugins: Plugins | None = None) -> BundledModel:
    """The bundled model, used if no other is named. Raises `UnsupportedError` if no package has one."""
    plugins = plugins or Plugins.installed()
    if "default" not in plugins.models:
        raise UnsupportedError(
            "no model is named, and no installed package has one: name a file, or install the one that "
            "comes with zigai: pip install --upgrade zigai"
        )
    bundled = call("the bundled model 'default'", plugins.models.get("default"))
    if not bundled.path.is_file():
        raise PluginError(f"the bundled model {bundled.path} is missing: reinstall the package it belongs to")
    return bundled


def _finish(
    descriptor: ModelDescriptor, options: LoadOptions, plugins: Plugins, progress: Progress | None
) -> Model:
    prepared = prepare(descriptor, options, plugins)
    program = prepared.compile(progress)
    tokens, nbytes = options.room()
    budget = Budget(tokens, nbytes, **({} if options.sequences is None else {"sequences": options.sequences}))
    plan_sizes(program, budget)  # raises if it is too small
    return Model(
        prepared.descriptor,
        program,
        prepared.tokenizer,
        backend=prepared.backend.name,
        choice=prepared.choice,
        plugins=plugins,
        budget=budget,
        queue=options.queue,
    )


def _check_vocabulary(descriptor: ModelDescriptor, graph: Graph, tokenizer: Tokenizer | None) -> None:
    """Raises `FormatError` if tokenizer, output and embeddings do not have the same tokens."""
    where = descriptor.path or descriptor.name
    outputs = graph.outputs["logits"].width if "logits" in graph.outputs else None
    tokens = None if tokenizer is None else tokenizer.vocabulary_size
    if tokens is not None and outputs is not None and tokens > outputs:
        raise FormatError(
            f"{where}: the tokenizer has {tokens} tokens, but the model's output has only {outputs}"
        )
    needed = max(outputs or 0, tokens or 0)
    for operation in graph:
        rows = operation.token_limit
        if rows is not None and rows < needed:
            table = operation.weights[0].name if operation.weights else operation.output.name
            raise FormatError(
                f"{where}: the embedding {table} has {rows} rows, but the model has {needed} "
                "tokens: the file is damaged or was converted wrongly; convert or download it again"
            )
