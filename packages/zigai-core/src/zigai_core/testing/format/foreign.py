"""Contents of files of other formats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FOREIGN: Mapping[str, bytes] = {
    "empty": b"",
    "short": b"\x01",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "text": b"# A model card\n\nThis is no model.\n" * 20,
    "JSON": b'{"model_type": "llama", "hidden_size": 64}\n',
    "GGUF": b"GGUF\x03\0\0\0" + bytes(16) + b"general.architecture",
    "safetensors": (2).to_bytes(8, "little") + b"{}",
    "zip": b"PK\x03\x04\x14\0\0\0\0\0" + bytes(500),
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.",
    "noise": np.random.RandomState(3).bytes(3000),
}
"""Contents of other formats, by name."""
