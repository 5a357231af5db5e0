"""What other processes of the machine take of its CPUs, so that a figure can be told from a disturbed one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

QUIET = 0.05
"""The share of all cores that others may take on a machine that counts as quiet."""


class Others:
    """Counts from when it is made. Linux alone tells; elsewhere the share is not known.

    Source: proc(5), the first line of /proc/stat in ticks: what is neither idle nor waiting is busy, and what
    this process and its ended children have not used of that, others have (or the hypervisor).
    """

    def __init__(self) -> None:
        self._began = self._now()

    def share(self) -> float | None:
        """What others have taken of all cores, 0 to 1."""
        now = self._now()
        if now is None or self._began is None:
            return None
        busy, own, at = (after - before for after, before in zip(now, self._began, strict=True))
        return min(1.0, max(0.0, busy - own) / max(1e-9, at * (os.cpu_count() or 1)))

    def _now(self) -> tuple[float, float, float] | None:
        """Seconds that all CPUs were busy, that are ours of them, and of the clock."""
        if sys.platform != "linux":
            return None
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        user, nice, system, _, _, *rest = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields)
        return user + nice + system + sum(rest), sum(os.times()[:4]), time.monotonic()


def wait_until_quiet(patience: float) -> bool:
    """Wait until others take next to nothing for a second; False where they do not in `patience` seconds."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        others = Others()
        time.sleep(min(1.0, patience))
        if (others.share() or 0.0) <= QUIET:
            return True
    return False
