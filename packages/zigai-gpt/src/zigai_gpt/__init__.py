"""The GPT family as graphs: one module for each `general.architecture`.

`gpt_oss` is an `Architecture` (`zigai_core.contracts.plugins`), which documents its arguments and errors.
"""

from zigai_gpt.gpt_oss import gpt_oss

__all__ = ["gpt_oss"]
