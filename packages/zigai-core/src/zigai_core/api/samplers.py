"""Samplers for the replies of a model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import PluginError, SamplingError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.plugins import Program, Tokenizer
from zigai_core.engine.sampling import Sampler


def default_sampling(descriptor: ModelDescriptor) -> SamplingOptions:
    """Returns the sampling defaults of a model's file. Raises `PluginError` for those that cannot be."""
    try:
        return SamplingOptions(**descriptor.sampling)
    except (TypeError, SamplingError) as error:
        raise PluginError(
            f"the format {descriptor.format or 'of the model'} gives sampling defaults that cannot be used: "
            f"{error}. Update the package that has it, or report this"
        ) from error


class Samplers:
    """Makes samplers with the registered steps, for the vocabulary of a model."""

    def __init__(self, program: Program, tokenizer: Tokenizer | None, plugins: Plugins) -> None:
        self._program = program
        self._tokenizer = tokenizer
        self._plugins = plugins
        self._known_breakers: dict[tuple[str, ...], frozenset[int]] = {}

    @property
    def vocabulary(self) -> int:
        """Number of tokens that can be drawn."""
        rows = self._program.graph.vocabulary_size
        return rows if self._tokenizer is None else min(rows, self._tokenizer.vocabulary_size)

    def new(self, options: SamplingOptions, changes: Mapping[str, Any] | None = None) -> Sampler:
        """Returns a sampler for one reply; `changes` are fields of `options` to replace.

        Raises `SamplingError` for a name that is not a field, with the nearest one, and for invalid values.
        """
        known = [field.name for field in fields(options)]  # a plugin's options may have more
        for name in changes or {}:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
                raise SamplingError(f"there is no option {name!r}{hint}")
        options = replace(options, **(changes or {}))
        if options.dry_multiplier > 0 and options.dry_breaker_tokens is None:
            breakers = self._breakers(tuple(options.dry_sequence_breakers))
            options = replace(options, dry_breaker_tokens=breakers)
        return Sampler(options, samplers=self._plugins.samplers, vocabulary=self.vocabulary)

    def _breakers(self, texts: tuple[str, ...]) -> frozenset[int]:
        """Returns the tokens whose text contains one of these; they are looked up once."""
        if texts not in self._known_breakers and self._tokenizer is not None:
            breakers = [text.encode("utf-8") for text in texts]
            spelling = self._tokenizer.decode_bytes
            self._known_breakers[texts] = frozenset(
                token
                for token in range(self.vocabulary)
                if any(breaker in spelling([token]) for breaker in breakers)
            )
        return self._known_breakers.get(texts, frozenset())
