"""Combines the figures of all rounds to the rows of a result."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from comparison.bounds import Demand
from comparison.work import Figure, Job
from limits import Limits, Rate

Seen = Mapping[str, Sequence[float]]
"""Values of a figure, one per round, by the name of the system."""


def pool(measured: Sequence[Limits]) -> Limits:
    """Combine the limits of several rounds: medians of the medians and of the bests."""

    def rate(name: str) -> Rate:
        rates = [getattr(limits, name) for limits in measured]
        return Rate(
            statistics.median(rate.median for rate in rates), statistics.median(rate.best for rate in rates)
        )

    first = measured[0]
    return Limits(first.threads, rate("read"), rate("int8"), rate("f32"), first.int8_sequence)


def row(job: Job, figure: Figure, seen: Seen, ours: str, demand: Demand, limits: Limits) -> dict[str, Any]:
    """Compare a figure of all systems. Of the peer's settings, the one with the better median counts."""
    medians = {name: statistics.median(values) for name, values in seen.items() if values}
    bound = demand.bound(job, figure.key, limits)
    others = {name: value for name, value in medians.items() if name != ours}
    better = max if figure.more_is_better else min
    peer = better(others, key=lambda name: others[name]) if others else None

    def share(name: str | None) -> float | None:
        if name is None or name not in medians or bound is None:
            return None
        return medians[name] / bound if figure.more_is_better else bound / medians[name]

    ratio = None
    if ours in medians and peer is not None:
        ratio = medians[ours] / medians[peer]
        ratio = ratio if figure.more_is_better else 1 / ratio
    return {
        "figure": figure.name,
        "key": figure.key,
        "unit": figure.unit,
        "more_is_better": figure.more_is_better,
        "ours": medians.get(ours),
        "peer": None if peer is None else medians[peer],
        "peer_setting": peer,
        "ratio": ratio,
        "bound": bound,
        "our_share": share(ours),
        "peer_share": share(peer),
        "values": {name: list(values) for name, values in seen.items()},
    }
