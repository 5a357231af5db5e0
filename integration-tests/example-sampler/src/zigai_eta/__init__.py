"""Eta sampling: keeps the tokens above a threshold that falls with the entropy of the distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from zigai_core.contracts.errors import SamplingError
from zigai_core.contracts.options import DEFAULT_STEPS, SamplingOptions
from zigai_core.contracts.sampling import Candidates, CandidateStep, Draw

CUTOFF = 0.0003
BEFORE = DEFAULT_STEPS.index("temperature")


@dataclass(frozen=True)
class EtaOptions(SamplingOptions):
    """Sampling options with those of the step. Raises `SamplingError` for an invalid value."""

    eta_cutoff: float = CUTOFF
    """ε: the highest threshold, a probability; 0 keeps all tokens."""
    steps: tuple[str, ...] = (*DEFAULT_STEPS[:BEFORE], "eta", *DEFAULT_STEPS[BEFORE:])

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.eta_cutoff, (int, float)) or not 0 <= self.eta_cutoff < 1:
            raise SamplingError(f"eta_cutoff must be a number from 0 to below 1, not {self.eta_cutoff!r}")


class Eta:
    """Keeps tokens whose probability is above η = min(ε, √ε · e^-H); H is the entropy in nats.

    Hewitt, Manning and Liang 2022, https://arxiv.org/abs/2210.15191.
    """

    def __init__(self, cutoff: float) -> None:
        self._cutoff = cutoff

    def choose(self, candidates: Candidates, draw: Draw) -> Candidates:
        """Returns the candidates above the threshold; the most likely one always is."""
        p = candidates.probabilities()
        entropy = -float((p * np.log(np.maximum(p, 1e-300))).sum())  # a p of 0 adds 0
        kept = p > min(self._cutoff, math.sqrt(self._cutoff) * math.exp(-entropy))
        return candidates.keep(kept) if kept.any() else candidates.first(1)


def eta(options: SamplingOptions) -> CandidateStep | None:
    """Makes the step; None if the cutoff is 0. Plain `SamplingOptions` have the default cutoff."""
    cutoff = options.eta_cutoff if isinstance(options, EtaOptions) else CUTOFF
    return Eta(cutoff) if cutoff else None
