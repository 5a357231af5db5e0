"""BERT and its relatives as graphs: one module for each `general.architecture`.

Each function is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_bert.bert import bert
from zigai_bert.modern_bert import modern_bert
from zigai_bert.nomic_bert import nomic_bert

__all__ = ["bert", "modern_bert", "nomic_bert"]
