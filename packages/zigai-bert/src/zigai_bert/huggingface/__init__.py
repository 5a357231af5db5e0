"""Names of the family's parts in Hugging Face's folders, by `model_type`."""

from zigai_bert.huggingface.bert import BERT
from zigai_bert.huggingface.modern_bert import MODERNBERT
from zigai_bert.huggingface.nomic_bert import NOMIC_BERT
from zigai_bert.huggingface.roberta import ROBERTA, XLM_ROBERTA

__all__ = ["BERT", "MODERNBERT", "NOMIC_BERT", "ROBERTA", "XLM_ROBERTA"]
