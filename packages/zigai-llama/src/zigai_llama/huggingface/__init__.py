"""Names of the family's parts in Hugging Face's folders, one for each `model_type`."""

from zigai_llama.huggingface.exaone4 import EXAONE4
from zigai_llama.huggingface.granite import GRANITE
from zigai_llama.huggingface.llama import LLAMA, MISTRAL, MIXTRAL
from zigai_llama.huggingface.llama4 import LLAMA4, LLAMA4_TEXT
from zigai_llama.huggingface.ministral3 import MINISTRAL3, MISTRAL3
from zigai_llama.huggingface.olmo import OLMO2, OLMO3
from zigai_llama.huggingface.seed_oss import SEED_OSS
from zigai_llama.huggingface.smollm3 import SMOLLM3

__all__ = [
    "EXAONE4",
    "GRANITE",
    "LLAMA",
    "LLAMA4",
    "LLAMA4_TEXT",
    "MINISTRAL3",
    "MISTRAL",
    "MISTRAL3",
    "MIXTRAL",
    "OLMO2",
    "OLMO3",
    "SEED_OSS",
    "SMOLLM3",
]
