"""Embeds texts with sentence-transformers, once for each line on stdin; needs only that library and numpy.

Prints the seconds that each took. The embeddings, float32 `[texts, width]`, are written before it reads.

usage: python embeddings_peer.py FOLDER TEXTS.json OUT.npy [--threads N]
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(options.threads)
    library: Any = importlib.import_module("sentence_transformers")
    model = library.SentenceTransformer(str(options.folder), device="cpu")
    texts = json.loads(options.texts.read_text(encoding="utf-8"))

    def embed() -> Any:
        return model.encode(texts, convert_to_numpy=True, show_progress_bar=False)

    np.save(options.out, embed())
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        embed()
        print(time.perf_counter() - began, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
