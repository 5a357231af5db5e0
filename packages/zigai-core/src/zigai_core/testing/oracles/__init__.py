"""Oracles, models with outputs of another implementation, and how strong they are.

`python -m zigai_core.testing.oracles FOLDER` records them (`record.py`).
"""

from zigai_core.testing.oracles.location import first_difference
from zigai_core.testing.oracles.oracle import Oracle

__all__ = ["Oracle", "first_difference"]
