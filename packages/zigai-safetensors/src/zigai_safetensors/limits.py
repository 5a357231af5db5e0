"""Limits on the contents of files, far above those of every known model.

Every length is also checked against the size of its file. These limits bound time and memory for a large file
that passes that check.
"""

from __future__ import annotations

HEADER_BYTES = 32 << 20
"""Bytes of the header of a safetensors file: 128 for each of a quarter of a million tensors."""

TENSORS = 1 << 17
"""Tensors in a file."""

DIMENSIONS = 4
"""Dimensions of a tensor."""

JSON_BYTES = 8 << 20
"""Bytes of config.json, of the index and of other small files."""

TOKENIZER_BYTES = 128 << 20
"""Bytes of tokenizer.json. The largest in use, with 260,000 tokens, take 33 MB."""

SENTENCEPIECE_BYTES = 32 << 20
"""Bytes of tokenizer.model. The largest in use, with 260,000 tokens, take 5 MB."""

LAYERS = 1 << 16
"""Layers of a model."""
