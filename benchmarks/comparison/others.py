"""CPU use of other processes, which disturbs measurements."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

QUIET = 0.05
"""Largest share of all cores that other processes use on a machine that counts as quiet."""


class Others:
    """CPU use of other processes since construction, on Linux; unknown on other systems.

    Source: proc(5), the first line of /proc/stat, in clock ticks: all time that is neither idle nor iowait is
    busy. The busy time that this process and its ended children have not used belongs to others, or to the
    hypervisor.
    """

    def __init__(self) -> None:
        self._began = self._now()

    def share(self) -> float | None:
        """Share of all cores that others have used, 0 to 1; None if unknown."""
        now = self._now()
        if now is None or self._began is None:
            return None
        busy, own, at = (after - before for after, before in zip(now, self._began, strict=True))
        return min(1.0, max(0.0, busy - own) / max(1e-9, at * (os.cpu_count() or 1)))

    def _now(self) -> tuple[float, float, float] | None:
        """Busy seconds of all CPUs, those of this process and its ended children, and the clock."""
        if sys.platform != "linux":
            return None
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, *rest = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields)
        return user + nice + system + sum(rest), sum(os.times()[:4]), time.monotonic()


def wait_until_quiet(patience: float) -> bool:
    """Wait until other processes are idle for a second. Returns False after `patience` seconds of waiting."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        others = Others()
        time.sleep(min(1.0, patience))
        if (others.share() or 0.0) <= QUIET:
            return True
    return False
