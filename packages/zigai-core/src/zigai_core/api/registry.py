"""Plugin registries: a `Registry` for each entry-point group, and `Plugins`, which holds all of them.

The groups and their contracts are described in `zigai_core.contracts.plugins`. Listing installed plugins
imports nothing, `Registry.get` imports one plugin, and `Registry.usable` imports all of a group: one that
fails is skipped, with one warning in the log.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from zigai_core.api.calling import call
from zigai_core.api.installed import NOUNS, Entry, Installed, report, scan, scan_once
from zigai_core.contracts.errors import PluginError, UnsupportedError, ZigAIError, quote
from zigai_core.contracts.huggingface import HuggingFaceNames

if TYPE_CHECKING:
    from zigai_core.contracts.dtypes import DType
    from zigai_core.contracts.plugins import (
        Architecture,
        Backend,
        BundledModel,
        FormatReader,
        Hints,
        TokenizerFactory,
    )
    from zigai_core.contracts.sampling import SamplerFactory
    from zigai_core.contracts.sources import Source

T = TypeVar("T")

CONSTRUCTED = ("zigai.formats", "zigai.backends", "zigai.sources")
"""Groups whose entries are classes that are constructed without arguments before use."""


class Registry(Generic[T]):
    """The plugins of one group, by name: objects passed to it, and installed entry points. Immutable.

    An object takes precedence over an installed entry point of the same name. `hints`: the packages to name
    in the error for a name that is not registered.

    >>> templates = Registry("zigai.chat_templates", {"plain": "{{ messages[-1].content }}"})
    >>> templates.get("plain")
    '{{ messages[-1].content }}'
    >>> list(templates)
    ['plain']
    """

    def __init__(
        self,
        group: str,
        plugins: Mapping[str, T] | None = None,
        installed: Sequence[Installed] = (),
        hints: Registry[Hints] | None = None,
    ) -> None:
        self.group = group
        self._given = dict(plugins or {})
        self._hints = hints
        self._installed = tuple(found for found in installed if found.group == group)

    def get(self, name: str) -> T:
        """Returns the plugin of this name; imports it if necessary.

        Raises `UnsupportedError` if the name is not registered, `PluginError` if two distributions declare
        it, or if the plugin cannot be imported or is not of its group's kind.
        """
        if name in self._given:
            return self._given[name]
        claims = self._claims(name)
        if not claims:
            raise UnsupportedError(self._unknown(name))
        if len(claims) > 1:
            raise PluginError(self._conflict(name, [found.entry for found in claims]))
        return cast("T", claims[0].load())

    def usable(self) -> Iterator[tuple[str, T]]:
        """All plugins by name, without those for which `get` fails: each gets one warning in the log."""
        for name in self:
            try:
                plugin = self.get(name)
            except PluginError as error:
                report(f"passed over: {error}")
                continue
            yield name, plugin

    def problem(self, entry: Entry) -> str:
        """Try to use a plugin: import it, and construct it in a group of `CONSTRUCTED`.

        Returns the error text; empty on success.
        """
        try:
            for found in self._installed:
                if found.entry == entry:
                    plugin: Any = found.load()
                    if self.group in CONSTRUCTED:
                        call(f"the {self._noun} {entry.name!r}", plugin)
        except (ZigAIError, OSError, MemoryError) as error:
            return str(error)
        return ""

    def entries(self) -> list[Entry]:
        """All entries, sorted by name, without importing anything. A name may have several entries."""
        given = [Entry(name, _describe(plugin)) for name, plugin in self._given.items()]
        installed = [found.entry for found in self._installed]
        return sorted(given + installed, key=lambda entry: (entry.name, entry.distribution))

    def extended(self, plugins: Mapping[str, T]) -> Registry[T]:
        """A copy of this registry with more objects, which replace those of the same name."""
        return Registry(self.group, {**self._given, **plugins}, self._installed, self._hints)

    def __contains__(self, name: object) -> bool:
        return name in self._given or any(found.entry.name == name for found in self._installed)

    def __iter__(self) -> Iterator[str]:
        """Distinct names, sorted."""
        return iter(sorted({*self._given, *(found.entry.name for found in self._installed)}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Registry({self.group!r}, {list(self)})"

    @property
    def _noun(self) -> str:
        return NOUNS.get(self.group, f"entry of {self.group}")

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name[:64].lower(), list(self), n=2)
        nearest = f"the nearest in spelling: {' and '.join(near)}; " if near else ""
        installed = ", ".join(self) or "none"
        message = (
            f"no installed package serves the {self._noun} {quote(name)}; {nearest}installed: {installed}"
        )
        package = self.hint(name)
        if package:
            return f"{message}. Install the one that does with: pip install --upgrade {package}"
        if self.group in ("zigai.architectures", "zigai.huggingface"):
            return f"{message}. To begin a package that does: zig-ai new architecture NAME"
        return message

    def hint(self, name: str) -> str:
        """The distribution that a hint names for this plugin; empty if there is no hint."""
        for _, hints in self._hints.usable() if self._hints else ():
            package = hints.get(self.group, {}).get(name)
            if package:
                return package
        return ""

    def _claims(self, name: str) -> list[Installed]:
        claims = (found for found in self._installed if found.entry.name == name)
        return sorted(claims, key=lambda found: found.entry.distribution)

    def _conflict(self, name: str, claims: Sequence[Entry]) -> str:
        listed = " and ".join(f"{claim.distribution} {claim.version} ({claim.value})" for claim in claims)
        removals = " or ".join(f"pip uninstall {claim.distribution}" for claim in claims)
        return f"the {self._noun} {name!r} is declared by {listed}. Remove one with: {removals}"


class Plugins:
    """The registries of all groups. Programs use `Plugins.installed()`, tests construct their own.

    Each argument is a mapping of names to plugins, or a `Registry`.

    >>> plugins = Plugins(chat_templates={"plain": "{{ messages[-1].content }}"})
    >>> list(plugins.chat_templates), list(plugins.architectures)
    (['plain'], [])
    """

    def __init__(
        self,
        *,
        formats: Mapping[str, Callable[[], FormatReader]]
        | Registry[Callable[[], FormatReader]]
        | None = None,
        architectures: Mapping[str, Architecture] | Registry[Architecture] | None = None,
        tokenizers: Mapping[str, TokenizerFactory] | Registry[TokenizerFactory] | None = None,
        backends: Mapping[str, Callable[[], Backend]] | Registry[Callable[[], Backend]] | None = None,
        samplers: Mapping[str, SamplerFactory] | Registry[SamplerFactory] | None = None,
        chat_templates: Mapping[str, str] | Registry[str] | None = None,
        commands: Mapping[str, Callable[..., object]] | Registry[Callable[..., object]] | None = None,
        models: Mapping[str, Callable[[], BundledModel]] | Registry[Callable[[], BundledModel]] | None = None,
        sources: Mapping[str, Callable[[], Source]] | Registry[Callable[[], Source]] | None = None,
        dtypes: Mapping[str, Callable[[], DType]] | Registry[Callable[[], DType]] | None = None,
        huggingface: Mapping[str, HuggingFaceNames] | Registry[HuggingFaceNames] | None = None,
        hints: Mapping[str, Hints] | Registry[Hints] | None = None,
    ) -> None:
        self.hints: Registry[Hints] = _registry("zigai.hints", hints)
        self.formats = _registry("zigai.formats", formats, self.hints)
        self.architectures = _registry("zigai.architectures", architectures, self.hints)
        self.tokenizers = _registry("zigai.tokenizers", tokenizers, self.hints)
        self.backends = _registry("zigai.backends", backends, self.hints)
        self.samplers = _registry("zigai.samplers", samplers, self.hints)
        self.chat_templates = _registry("zigai.chat_templates", chat_templates, self.hints)
        self.commands = _registry("zigai.commands", commands, self.hints)
        self.models = _registry("zigai.models", models, self.hints)
        self.sources = _registry("zigai.sources", sources, self.hints)
        self.dtypes = _registry("zigai.dtypes", dtypes, self.hints)
        self.huggingface = _registry("zigai.huggingface", huggingface, self.hints)

    @classmethod
    def installed(cls, path: Sequence[str] | None = None) -> Plugins:
        """The plugins that distributions on `path` declare. By default `sys.path`, which is scanned once."""
        found = scan_once() if path is None else scan(path)
        hints: Registry[Hints] = Registry("zigai.hints", installed=found)
        registries: dict[str, Registry[Any]] = {
            group.removeprefix("zigai."): Registry(group, installed=found, hints=hints)
            for group in NOUNS
            if group != "zigai.hints"
        }
        return cls(**registries, hints=hints)

    def extended(
        self,
        *,
        formats: Mapping[str, Callable[[], FormatReader]] | None = None,
        architectures: Mapping[str, Architecture] | None = None,
        tokenizers: Mapping[str, TokenizerFactory] | None = None,
        backends: Mapping[str, Callable[[], Backend]] | None = None,
        samplers: Mapping[str, SamplerFactory] | None = None,
        chat_templates: Mapping[str, str] | None = None,
        commands: Mapping[str, Callable[..., object]] | None = None,
        models: Mapping[str, Callable[[], BundledModel]] | None = None,
        sources: Mapping[str, Callable[[], Source]] | None = None,
        dtypes: Mapping[str, Callable[[], DType]] | None = None,
        huggingface: Mapping[str, HuggingFaceNames] | None = None,
        hints: Mapping[str, Hints] | None = None,
    ) -> Plugins:
        """A copy of these registries with more plugins, which take precedence over installed ones."""
        return Plugins(
            formats=self.formats.extended(formats or {}),
            architectures=self.architectures.extended(architectures or {}),
            tokenizers=self.tokenizers.extended(tokenizers or {}),
            backends=self.backends.extended(backends or {}),
            samplers=self.samplers.extended(samplers or {}),
            chat_templates=self.chat_templates.extended(chat_templates or {}),
            commands=self.commands.extended(commands or {}),
            models=self.models.extended(models or {}),
            sources=self.sources.extended(sources or {}),
            dtypes=self.dtypes.extended(dtypes or {}),
            huggingface=self.huggingface.extended(huggingface or {}),
            hints=self.hints.extended(hints or {}),
        )

    def registries(self) -> list[Registry[Any]]:
        """All registries, in the order of `NOUNS`."""
        return [getattr(self, group.removeprefix("zigai.")) for group in NOUNS]


def _registry(
    group: str, plugins: Mapping[str, T] | Registry[T] | None, hints: Registry[Hints] | None = None
) -> Registry[T]:
    return plugins if isinstance(plugins, Registry) else Registry(group, plugins, hints=hints)


def _describe(plugin: object) -> str:
    name = getattr(plugin, "__qualname__", None)
    return f"{getattr(plugin, '__module__', '')}:{name}" if name else type(plugin).__name__
