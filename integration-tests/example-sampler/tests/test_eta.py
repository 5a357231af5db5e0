"""The step by the conformance suite of zigai-core, which needs nothing but zigai-core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zigai_core.contracts.options import SamplingOptions
from zigai_core.testing.sampler import Golden, SamplerConformance
from zigai_eta import EtaOptions, eta


class TestEta(SamplerConformance):
    factory = eta
    name = "eta"
    on = (EtaOptions(), EtaOptions(eta_cutoff=0.002), EtaOptions(eta_cutoff=0.3), SamplingOptions())
    off = (EtaOptions(eta_cutoff=0),)
    goldens = (  # H = 1.142: √0.25 · e^-H = 0.1596 is below 0.25, and √0.04 · e^-H = 0.0638 is above 0.04
        Golden(np.log([0.5, 0.3, 0.15, 0.05]).tolist(), EtaOptions(eta_cutoff=0.25), {0: 0.625, 1: 0.375}),
        Golden(
            np.log([0.5, 0.3, 0.15, 0.05]).tolist(),
            EtaOptions(eta_cutoff=0.04),
            {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05},
        ),
    )

    @staticmethod
    def definition(logits: Any, options: SamplingOptions, history: Sequence[int]) -> Any:
        wide = logits.astype(np.float64)
        log_p = wide - wide.max() - math.log(np.exp(wide - wide.max()).sum())
        entropy = -math.fsum(math.exp(x) * x for x in log_p.tolist() if x > -700)
        epsilon = getattr(options, "eta_cutoff", 0.0003)
        left = np.where(log_p > min(math.log(epsilon), math.log(epsilon) / 2 - entropy), np.exp(log_p), 0)
        return left / left.sum()
