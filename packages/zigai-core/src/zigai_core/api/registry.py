"""Which plugins there are: one `Registry` for each entry-point group, and `Plugins`, the bundle of all.

The groups and what an entry must be stand in `zigai_core.contracts.plugins`. Looking at what is installed
imports nothing; asking for a name imports that one plugin. Where entry points come from:
https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from zigai_core.contracts.errors import PluginError, UnsupportedError, quote

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from zigai_core.contracts.dtypes import DType
    from zigai_core.contracts.plugins import (
        Architecture,
        Backend,
        BundledModel,
        FormatReader,
        SamplerFactory,
        TokenizerFactory,
    )

T = TypeVar("T")

NOUNS: Mapping[str, str] = {
    "zigai.formats": "file format",
    "zigai.architectures": "architecture",
    "zigai.tokenizers": "tokenizer",
    "zigai.backends": "backend",
    "zigai.samplers": "sampler step",
    "zigai.chat_templates": "chat template",
    "zigai.commands": "command",
    "zigai.models": "bundled model",
    "zigai.dtypes": "storage type",
}
"""The groups, and what people call an entry of each."""

_PACKAGES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "zigai.formats": {"zigai-gguf": ["gguf"]},
    "zigai.architectures": {
        "zigai-llama": ["llama"],
        "zigai-qwen": ["qwen", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe"],
    },
    "zigai.tokenizers": {"zigai-tokenizers": ["llama", "gpt2"]},
    "zigai.backends": {"zigai-kernels": ["native"], "zigai-core": ["numpy"]},
    "zigai.models": {"zigai": ["default"]},
}
"""Our own packages and the names they serve, to tell people what to install."""


@dataclass(frozen=True)
class Entry:
    """One plugin as `zig-ai plugins` lists it; by hand, it has no `distribution` and no `version`."""

    name: str
    value: str
    distribution: str = ""
    version: str = ""


@dataclass(frozen=True)
class Installed:
    """An entry point that an installed distribution declares; nothing is imported until `load`."""

    group: str
    entry: Entry
    point: EntryPoint = field(repr=False)

    def load(self) -> object:
        """Import it. `PluginError` with the cause where that fails."""
        try:
            return self.point.load()
        except (Exception, SystemExit) as cause:  # a plugin may fail in any way while it is imported
            distribution = self.entry.distribution
            raise PluginError(
                f"the {NOUNS[self.group]} {self.entry.name!r} ({self.entry.value}) "
                f"of {distribution} {self.entry.version} cannot be loaded: {type(cause).__name__}: {cause}. "
                f"Reinstall it, or remove it with: pip uninstall {distribution}"
            ) from cause


class Registry(Generic[T]):
    """The plugins of one group, by name: those given by hand, and those installed. It never changes.

    One given by hand stands before an installed one of the same name.

    >>> templates = Registry("zigai.chat_templates", {"plain": "{{ messages[-1].content }}"})
    >>> templates.get("plain")
    '{{ messages[-1].content }}'
    >>> list(templates)
    ['plain']
    """

    def __init__(
        self, group: str, plugins: Mapping[str, T] | None = None, installed: Sequence[Installed] = ()
    ) -> None:
        self.group = group
        self._by_hand = dict(plugins or {})
        self._installed = tuple(found for found in installed if found.group == group)

    def get(self, name: str) -> T:
        """The plugin of that name, imported now if it was not before.

        `UnsupportedError` where nobody claims the name; `PluginError` where two distributions do, or where
        the plugin cannot be imported or is not of its group's kind.
        """
        if name in self._by_hand:
            return self._by_hand[name]
        claims = sorted(
            (found for found in self._installed if found.entry.name == name),
            key=lambda found: found.entry.distribution,
        )
        if not claims:
            raise UnsupportedError(self._unknown(name))
        if len(claims) > 1:
            raise PluginError(self._conflict(name, [found.entry for found in claims]))
        plugin = claims[0].load()
        text_wanted = self.group == "zigai.chat_templates"
        if not (isinstance(plugin, str) if text_wanted else callable(plugin)):
            entry = claims[0].entry
            raise PluginError(
                f"the {self._noun} {name!r} ({entry.value}) of {entry.distribution} {entry.version} must be "
                f"{'text' if text_wanted else 'callable'}, but is of type {type(plugin).__name__}"
            )
        return cast("T", plugin)

    def entries(self) -> list[Entry]:
        """Every claim, sorted by name, without importing anything; a name claimed twice is there twice."""
        by_hand = [Entry(name, _describe(plugin)) for name, plugin in self._by_hand.items()]
        installed = [found.entry for found in self._installed]
        return sorted(by_hand + installed, key=lambda entry: (entry.name, entry.distribution))

    def extended(self, plugins: Mapping[str, T]) -> Registry[T]:
        """A registry with these given by hand as well; a name that was given before is replaced."""
        return Registry(self.group, {**self._by_hand, **plugins}, self._installed)

    def __contains__(self, name: object) -> bool:
        return name in self._by_hand or any(found.entry.name == name for found in self._installed)

    def __iter__(self) -> Iterator[str]:
        """The names, sorted, each once."""
        return iter(sorted({*self._by_hand, *(found.entry.name for found in self._installed)}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Registry({self.group!r}, {list(self)})"

    @property
    def _noun(self) -> str:
        return NOUNS.get(self.group, f"entry of {self.group}")

    def _unknown(self, name: str) -> str:
        installed = ", ".join(self) or "none"
        message = f"no installed package serves the {self._noun} {quote(name)}; installed: {installed}"
        for package, served in _PACKAGES.get(self.group, {}).items():
            if name in served:
                message += f". Install the one that does with: pip install --upgrade {package}"
        return message

    def _conflict(self, name: str, claims: Sequence[Entry]) -> str:
        listed = " and ".join(f"{claim.distribution} {claim.version} ({claim.value})" for claim in claims)
        removals = " or ".join(f"pip uninstall {claim.distribution}" for claim in claims)
        return f"the {self._noun} {name!r} is claimed by {listed}. Remove one with: {removals}"


class Plugins:
    """The registries of all groups. Tests build one by hand; programs take `Plugins.installed()`.

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
        dtypes: Mapping[str, Callable[[], DType]] | Registry[Callable[[], DType]] | None = None,
    ) -> None:
        self.formats = _registry("zigai.formats", formats)
        self.architectures = _registry("zigai.architectures", architectures)
        self.tokenizers = _registry("zigai.tokenizers", tokenizers)
        self.backends = _registry("zigai.backends", backends)
        self.samplers = _registry("zigai.samplers", samplers)
        self.chat_templates = _registry("zigai.chat_templates", chat_templates)
        self.commands = _registry("zigai.commands", commands)
        self.models = _registry("zigai.models", models)
        self.dtypes = _registry("zigai.dtypes", dtypes)

    @classmethod
    def installed(cls, path: Sequence[str] | None = None) -> Plugins:
        """What the distributions on `path` declare; by default `sys.path`, looked through once."""
        found = _scan_once() if path is None else _scan(path)
        registries: dict[str, Registry[Any]] = {
            group.removeprefix("zigai."): Registry(group, installed=found) for group in NOUNS
        }
        return cls(**registries)

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
        dtypes: Mapping[str, Callable[[], DType]] | None = None,
    ) -> Plugins:
        """These registries with plugins given by hand as well, which stand before installed ones."""
        return Plugins(
            formats=self.formats.extended(formats or {}),
            architectures=self.architectures.extended(architectures or {}),
            tokenizers=self.tokenizers.extended(tokenizers or {}),
            backends=self.backends.extended(backends or {}),
            samplers=self.samplers.extended(samplers or {}),
            chat_templates=self.chat_templates.extended(chat_templates or {}),
            commands=self.commands.extended(commands or {}),
            models=self.models.extended(models or {}),
            dtypes=self.dtypes.extended(dtypes or {}),
        )

    def registries(self) -> list[Registry[Any]]:
        """All of them, in the order of the table in `zigai_core.contracts.plugins`."""
        return [getattr(self, group.removeprefix("zigai.")) for group in NOUNS]


def _registry(group: str, plugins: Mapping[str, T] | Registry[T] | None) -> Registry[T]:
    return plugins if isinstance(plugins, Registry) else Registry(group, plugins)


def _describe(plugin: object) -> str:
    name = getattr(plugin, "__qualname__", None)
    return f"{getattr(plugin, '__module__', '')}:{name}" if name else type(plugin).__name__


@cache
def _scan_once() -> tuple[Installed, ...]:
    return _scan(None)


def _scan(path: Sequence[str] | None) -> tuple[Installed, ...]:
    """The entry points of our groups, of every distribution on `path`.

    `importlib.metadata.entry_points` does the same but parses every distribution's; most have none of ours.
    """
    from importlib import metadata  # costs 20 ms, and a program may not come here

    seen: set[str] = set()
    found: list[Installed] = []
    for distribution in metadata.distributions() if path is None else metadata.distributions(path=list(path)):
        try:
            declared = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeDecodeError):
            continue  # somebody else's broken metadata is not ours to complain about
        if not declared or not re.search(r"^\s*\[\s*zigai\.", declared, re.MULTILINE):
            continue
        fields: Any = distribution.metadata or {}
        name = fields.get("Name") or "unknown distribution"
        # An editable install may be there twice, as egg-info and dist-info; the first is what is imported.
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        version = fields.get("Version") or "of unknown version"
        for point in distribution.entry_points:
            if point.group in NOUNS:
                entry = Entry(point.name, point.value, name, version)
                found.append(Installed(point.group, entry, point))
    return tuple(found)
