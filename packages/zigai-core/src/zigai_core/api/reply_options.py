"""The keywords of `Model.generate` and `Chat.send`: checked, and separated from sampling options."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from zigai_core.api.draft import Speculate, Vocabulary
from zigai_core.contracts.errors import SamplingError, UnsupportedError, quote
from zigai_core.contracts.options import SamplingOptions
from zigai_core.engine.request import Overflow


@dataclass(frozen=True, eq=False)
class ReplyOptions:
    """Options of one reply, without the changes to its sampling options.

    Raises `SamplingError` and `UnsupportedError` for values of a wrong type.
    """

    sampling: SamplingOptions | None = None
    max_tokens: int | None = None
    stop: str | Sequence[str] | None = ()
    overflow: Overflow = "stop"
    speculate: Speculate | None = None
    draft: Vocabulary | None = None
    deadline: float | None = None
    priority: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        sampling, deadline, priority = (getattr(self, name) for name in ("sampling", "deadline", "priority"))
        if sampling is not None and not isinstance(sampling, SamplingOptions):
            raise SamplingError(
                f"sampling must be SamplingOptions, not {quote(sampling)}; single options are keywords"
            )
        if isinstance(deadline, bool) or not (
            deadline is None
            or (isinstance(deadline, Real) and math.isfinite(deadline) and float(deadline) >= 0)
        ):
            raise UnsupportedError(
                f"deadline must be a number of seconds of at least 0, or None, not {quote(deadline)}"
            )
        if isinstance(priority, bool) or not isinstance(priority, Integral):
            raise UnsupportedError(f"priority must be a whole number, not {quote(priority)}")

    @property
    def stops(self) -> Sequence[str]:
        """The stop strings."""
        return () if self.stop is None else [self.stop] if isinstance(self.stop, str) else self.stop


_NAMES = frozenset(field.name for field in fields(ReplyOptions))


def split_options(options: Mapping[str, Any]) -> tuple[ReplyOptions, dict[str, Any]]:
    """Returns the options of a reply, and all others: changes to its sampling options."""
    own = {name: value for name, value in options.items() if name in _NAMES}
    return ReplyOptions(**own), {name: value for name, value in options.items() if name not in _NAMES}


def seeds_of(count: int, seed: int | None, sampling: object) -> list[dict[str, int]]:
    """Returns an option `seed` for each of several replies: `seed`, or that of `sampling`, plus i; or none.

    Raises `SamplingError` for a count or a seed that is not a whole number.
    """
    first: object = sampling.seed if seed is None and isinstance(sampling, SamplingOptions) else seed
    if first is not None and (isinstance(first, bool) or not isinstance(first, Integral)):
        raise SamplingError(f"seed must be a whole number, not {quote(first)}")
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise SamplingError(f"count must be a whole number of at least 1, not {quote(count)}")
    return [{} if first is None else {"seed": int(first) + i} for i in range(int(count))]
