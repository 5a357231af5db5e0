"""Records what transformers computes for the pairs of integration-tests/reranker_folders.py.

    python integration-tests/oracle/rerankers.py

It does what sentence-transformers' CrossEncoder does before its activation: the tokenizer encodes the pairs,
with the types of their tokens, and the model gives its logits. Needs torch and transformers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from reranker_folders import DOCUMENTS, MODELS, QUERY, write  # noqa: E402


def main() -> None:
    """Writes rerankers.json."""
    found = {}
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            path = write(name, Path(folder))
            network = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
            tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
            rows = []
            for document in DOCUMENTS:
                given = tokenizer([[QUERY, document]], return_tensors="pt", return_token_type_ids=True)
                with torch.no_grad():
                    score = float(network(**given).logits[0, 0])
                rows.append(
                    {
                        "ids": given["input_ids"][0].tolist(),
                        "types": given["token_type_ids"][0].tolist(),
                        "score": score,
                    }
                )
        found[name] = rows
    (HERE / "rerankers.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
