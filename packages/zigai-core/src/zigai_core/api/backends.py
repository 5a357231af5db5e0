"""Chooses the backend that runs a graph: the one named, or the fastest that serves all of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from typing import Any

from zigai_core.api.calling import call
from zigai_core.api.installed import report
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import PluginError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend

LOG = logging.getLogger("zigai")


def choose_backend(
    options: LoadOptions, graph: Graph, model: ModelDescriptor, plugins: Plugins
) -> tuple[Backend, str]:
    """The backend named by `options`, or for `auto` the fastest that serves all of the graph, and the reason.

    With `auto`, a backend that fails, and a faster one that lacks a kernel, is skipped with a warning in the
    log. Raises `UnsupportedError` if none serves the model, or if no backend has one of the settings given;
    `PluginError` if the named backend fails.
    """
    if options.backend != "auto":
        name = options.backend
        backend = make_backend(name, plugins, options.settings)
        return backend, f"{name}, as requested"
    backends, failed = _installed(options, plugins)
    lacking: list[str] = []
    for backend in sorted(backends, key=lambda backend: -backend.speed):
        try:
            missing = missing_of(backend, graph, model)
        except PluginError as error:
            report(f"passed over: {error}")
            failed.append(f"{backend.name} fails")
            continue
        if not missing:
            reason = "the fastest installed backend that serves the whole model"
            if lacking:
                LOG.warning(
                    "%s runs on %s, which is slower: %s", model.name, backend.name, "; ".join(lacking)
                )
            _warn_about_unused_settings(options, plugins, backend)
            return backend, "; ".join([f"{backend.name}, {reason}", *lacking, *failed])
        lacking.append(f"{backend.name} has no {', no '.join(missing)}")
    raise UnsupportedError(
        f"no installed backend serves {model.name}: "
        + ("; ".join([*lacking, *failed]) or "none is installed")
    )


def make_backend(name: str, plugins: Plugins, settings: Mapping[str, Any]) -> Backend:
    """Construct the backend of this name with these settings.

    Raises `UnsupportedError` for a name that is not installed or a setting that the backend does not have,
    `PluginError` if its class fails or makes something that is not a `Backend`.
    """
    kind = plugins.backends.get(name)
    known = settings_of(kind)
    for setting in settings:
        if setting not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise UnsupportedError(f"the backend {name} has no setting {setting!r}; its settings: {listed}")
    backend: Any = call(f"the backend {name!r}", partial(kind, **settings))
    speed: Any = getattr(backend, "speed", None)
    if not isinstance(backend, Backend) or isinstance(speed, bool) or not isinstance(speed, (int, float)):
        raise PluginError(
            f"the backend {name!r} is of type {type(backend).__name__}, not a zigai_core Backend"
        )
    return backend


def settings_of(kind: Any) -> frozenset[str]:
    """Names of a backend's settings: the keyword arguments of its class."""
    try:
        parameters = signature(kind).parameters.values()
    except (TypeError, ValueError):
        return frozenset()
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return frozenset(parameter.name for parameter in parameters if parameter.kind in named)


def missing_of(backend: Backend, graph: Graph, model: ModelDescriptor) -> list[str]:
    """Operations and storage types for which the backend has no kernel, as `Backend.missing` names them."""
    missing = partial(backend.missing, graph, model.tensors)
    return list(call(f"the backend {backend.name!r}", missing))


def tell_ignored(backend: Backend, options: LoadOptions, compiled: CompileOptions) -> None:
    """Logs a warning for each option that was given and that the backend does not use."""
    for name, instead in backend.ignored(compiled).items():
        value = getattr(options, name, None)
        if value is not None:
            LOG.warning("the backend %s does not use %s=%s: %s", backend.name, name, value, instead)


def _installed(options: LoadOptions, plugins: Plugins) -> tuple[list[Backend], list[str]]:
    """All installed backends, each with those of the settings that it has; and a note on each that fails."""
    backends: list[Backend] = []
    failed: list[str] = []
    used: set[str] = set()
    for name in plugins.backends:
        try:
            own = settings_of(plugins.backends.get(name)) & options.settings.keys()
            backend = make_backend(name, plugins, {key: options.settings[key] for key in sorted(own)})
        except PluginError as error:
            report(f"passed over: {error}")
            failed.append(f"{name} fails")
            continue
        used |= own
        backends.append(backend)
    unknown: Sequence[str] = sorted(options.settings.keys() - used)
    if unknown:
        raise UnsupportedError(f"no installed backend has the setting {unknown[0]!r}")
    return backends, failed


def _warn_about_unused_settings(options: LoadOptions, plugins: Plugins, backend: Backend) -> None:
    for name in sorted(options.settings.keys() - settings_of(plugins.backends.get(backend.name))):
        LOG.warning("the backend %s has no setting %s, so it is not used", backend.name, name)
