"""Limits on the contents of files, far above those of every known model.

Every length is also checked against the size of its file. These limits bound time and memory for a large file
that passes that check.
"""

from __future__ import annotations

HEADER_BYTES = 16 << 20
"""Bytes of the header of a safetensors file: 128 for each of 131,072 tensors."""

TENSORS = 1 << 17
"""Tensors in a file."""

DIMENSIONS = 5
"""Dimensions of a tensor. Filters of videos, in the vision towers of Qwen2-VL and its successors, have 5."""

JSON_BYTES = 8 << 20
"""Bytes of config.json and of other small files."""

DEPTH = 64
"""Depth of the values in a JSON file. The deepest known, of tokenizer.json, is below 10."""

MODULES_BYTES = 1 << 16
"""Bytes of modules.json, which lists a few folders."""

INDEX_BYTES = 32 << 20
"""Bytes of model.safetensors.index.json. DeepSeek V3's, with 91,000 tensors, takes 9 MB."""

TOKENIZER_BYTES = 64 << 20
"""Bytes of tokenizer.json. The largest in use, with 260,000 tokens, take 33 MB."""

SENTENCEPIECE_BYTES = 32 << 20
"""Bytes of tokenizer.model. The largest in use, with 260,000 tokens, take 5 MB."""

ROW = 1 << 20
"""Elements of a row of a quantised weight. The widest known have 53,248."""

LAYERS = 1 << 16
"""Layers of a model."""

JSON_MEMORY = 64 << 20
JSON_GROWTH = 6
"""The values of a JSON text may take `JSON_GROWTH` times its bytes and `JSON_MEMORY` in memory.

Those of headers take 5 to 6 times, those of tokenizers 3 to 4.
"""
