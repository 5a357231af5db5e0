"""Settings of the conformance suite for sampler steps: what a contributor sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

from zigai_core.api.registry import Registry
from zigai_core.contracts.graph import Array
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.sampling import SamplerFactory
from zigai_core.engine.sampling import Sampler
from zigai_core.testing.sampler.golden import Definition, Golden
from zigai_core.testing.sampler.rows import finite_rows, large_row

HISTORY = (0, 1, 2, 0, 1, 2, 0, 1)
"""A prompt that repeats itself, for penalties; taken modulo the vocabulary."""


class SamplerSuite:
    """What a contributor sets, and what the tests of a step share."""

    factory: ClassVar[SamplerFactory]
    """Makes the step: the function or class of the entry point."""
    name: ClassVar[str]
    """The name of the entry point."""
    on: ClassVar[Sequence[SamplingOptions]]
    """Options that switch the step on. They must leave the last token of a row if it is the only one."""
    off: ClassVar[Sequence[SamplingOptions]] = ()
    """Options with which the factory makes no step; none for a step that is always on."""
    goldens: ClassVar[Sequence[Golden]] = ()
    """Rows with known probabilities, such as another implementation's. These or `definition` are required."""
    definition: ClassVar[Definition | None] = None
    """The step computed in another way, which is compared with it on all rows."""
    tolerance: ClassVar[float] = 1e-6
    """Maximum difference of a probability from a golden one or the definition's."""
    smallest: ClassVar[int] = 1
    """Tokens of the smallest vocabulary that the options in `on` allow."""

    def _sampler(self, options: SamplingOptions, *steps: str, prompt: Sequence[int] = ()) -> Sampler:
        """Returns a started sampler whose chain is `steps`; the step alone if there are none."""
        owner: Any = type(self)
        registry = Registry[Any]("zigai.samplers", {owner.name: owner.factory})
        sampler = Sampler(replace(options, steps=steps or (owner.name,)), registry)
        sampler.start(prompt)
        return sampler

    def _step(self, options: SamplingOptions) -> Any:
        """Returns a new step, which must not be None."""
        owner: Any = type(self)
        step = owner.factory(options)
        assert step is not None, f"{shown(options)}: in `on`, but makes no step"
        return step

    def _rows(self, *, large: bool = True) -> dict[str, Array]:
        rows = finite_rows() | ({"large": large_row()} if large else {})
        return {name: row for name, row in rows.items() if len(row) >= type(self).smallest}

    def _cases(self, *, large: bool = True) -> Iterator[tuple[str, SamplingOptions, Array, list[int]]]:
        """Yields a description, options with a seed, a row and a prompt; the large row with one prompt."""
        for options in type(self).on:
            seeded = replace(options, seed=5)
            for name, row in self._rows(large=large).items():
                for prompt in ((), HISTORY) if name != "large" else (HISTORY,):
                    case = f"row {name!r}, {shown(options)}, prompt of {len(prompt)}"
                    yield case, seeded, row, [token % len(row) for token in prompt]


def shown(options: SamplingOptions) -> str:
    """Returns the options that differ from their defaults, as text."""
    usual = SamplingOptions()
    changed = {f.name: getattr(options, f.name) for f in fields(options)}
    changed = {name: value for name, value in changed.items() if value != getattr(usual, name, None)}
    return ", ".join(f"{name}={value!r}" for name, value in changed.items()) or "default options"
