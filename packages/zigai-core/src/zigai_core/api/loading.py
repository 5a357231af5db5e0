"""From a path to a model: file → reader → descriptor → architecture → graph → backend → program."""

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
from zigai_core.api.reading import read
from zigai_core.api.registry import Plugins
from zigai_core.api.unread import check_unread
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, PluginError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend, BundledModel, Program, Progress, Tokenizer

__all__ = ["Prepared", "assemble", "build", "default_model", "load", "plan", "prepare", "read"]

LOG = logging.getLogger("zigai")

DEFAULT_CONTEXT = 8192
"""The context of a model that was trained with a longer one, where the caller names none."""

F = TypeVar("F", bound=Callable[..., Any])


def _with_load_options(function: F) -> F:
    """Shows the fields of `LoadOptions` as the function's keywords, in its signature and its description."""
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
    """A model that is ready to run; without a path the one that comes with `zigai`, which the log tells.

    `path`: a file, one part of several, or a folder, as the installed formats read them. `Model.choice`
    says which backend was taken and why.

    Raises `FormatError` for a file that is broken, `ShapeError` for tensors that do not fit its
    architecture, `UnsupportedError` for what nothing installed serves and for options out of range.
    """
    given = LoadOptions(**options)  # refused before a file is opened
    plugins = plugins or Plugins.installed()
    if path is None:
        bundled = default_model(plugins=plugins)
        LOG.warning("no model is named, so this is %s. To name one: zigai.load('model.gguf')", bundled.about)
        path = bundled.path
    return _finish(read(path, plugins=plugins), given, plugins, progress)


@_with_load_options
def assemble(
    descriptor: ModelDescriptor,
    *,
    plugins: Plugins | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Model:
    """A model of a descriptor, wherever that came from; else as `load`."""
    return _finish(descriptor, LoadOptions(**options), plugins or Plugins.installed(), progress)


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that is settled about a model before its weights are touched."""

    descriptor: ModelDescriptor
    graph: Graph
    tokenizer: Tokenizer | None
    backend: Backend
    choice: str
    options: CompileOptions

    def compile(self, progress: Progress | None = None) -> Program:
        """The program."""
        return self.backend.compile(self.graph, self.descriptor.tensors, self.options, progress)


def prepare(descriptor: ModelDescriptor, options: LoadOptions, plugins: Plugins) -> Prepared:
    """Graph, tokenizer, backend and compile options of a model: all checks, and no work."""
    compiled = plan(descriptor, options)
    graph = build(descriptor, context=compiled.context, unread=options.unread, plugins=plugins)
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
    """What a backend is asked for; `UnsupportedError` for a context the model was not trained for."""
    trained = descriptor.hyperparameters.integer("context_length", DEFAULT_CONTEXT, minimum=1)
    context = min(trained, DEFAULT_CONTEXT) if options.context is None else options.context
    if context > trained:
        raise UnsupportedError(
            f"a context of {context} tokens: {descriptor.name} was trained for 1 to {trained}"
        )
    whole = all(tensor.dtype.name == "F32" for tensor in descriptor.tensors.values())
    return CompileOptions(
        context=context,
        batch=min(512, context),
        threads=options.threads,
        kv_dtype=options.kv_dtype or ("F32" if whole else "F16"),
    )


def build(
    descriptor: ModelDescriptor, *, context: int, unread: str = "error", plugins: Plugins | None = None
) -> Graph:
    """The graph of a model, by the architecture that its file names.

    `UnsupportedError` for tensors and hyperparameters that it should read and does not; with
    `unread="warn"` the log tells them.
    """
    plugins = plugins or Plugins.installed()
    name = descriptor.architecture
    hp = descriptor.hyperparameters.tracked()
    given = replace(descriptor, hyperparameters=hp)
    architecture = plugins.architectures.get(name)
    graph: Any = call(f"the architecture {name!r}", partial(architecture, given, context=context))
    if not isinstance(graph, Graph):
        raise PluginError(f"the architecture {name} gave {type(graph).__name__}, not a zigai_core Graph")
    check_unread(descriptor, hp, graph, context=context, how=unread)
    return graph


def default_model(*, plugins: Plugins | None = None) -> BundledModel:
    """The model that is taken where none is named. `UnsupportedError` where no package brings one."""
    plugins = plugins or Plugins.installed()
    if "default" not in plugins.models:
        raise UnsupportedError(
            "no model is named, and no installed package brings one: name a file, or install the one that "
            "comes with zigai: pip install --upgrade zigai"
        )
    bundled = call("the bundled model 'default'", plugins.models.get("default"))
    if not bundled.path.is_file():
        raise PluginError(f"the bundled model {bundled.path} is not there: reinstall the package it is of")
    return bundled


def _finish(
    descriptor: ModelDescriptor, options: LoadOptions, plugins: Plugins, progress: Progress | None
) -> Model:
    made = prepare(descriptor, options, plugins)
    program = made.compile(progress)
    return Model(
        descriptor, program, made.tokenizer, backend=made.backend.name, choice=made.choice, plugins=plugins
    )


def _check_vocabulary(descriptor: ModelDescriptor, graph: Graph, tokenizer: Tokenizer | None) -> None:
    """`FormatError` where a token could come up that another part of the model does not have."""
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
