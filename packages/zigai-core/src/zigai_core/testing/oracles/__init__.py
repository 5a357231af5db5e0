"""Oracles, models with outputs of another implementation, and how strong they are.

`python -m zigai_core.testing.oracles FOLDER` records them (`record.py`).
"""

from zigai_core.testing.oracles.comparison import first_difference
from zigai_core.testing.oracles.evaluation import Evaluation
from zigai_core.testing.oracles.mutation_score import MutationScore
from zigai_core.testing.oracles.oracle import Oracle, float_tensor

__all__ = ["Evaluation", "MutationScore", "Oracle", "first_difference", "float_tensor"]
