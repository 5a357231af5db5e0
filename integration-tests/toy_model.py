"""Write a small model with random weights to a GGUF file.

usage: python toy_model.py OUT.gguf [--architecture NAME] [--type F32] [--width N] [--layers N] [--context N]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.testing.toys import toy_decoder
from zigai_gguf import write_gguf

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def write_toy(path: Path, model: ModelDescriptor) -> None:
    """Write a toy descriptor to a GGUF file, with its vocabulary and a chat template."""
    spec = model.tokenizer
    if spec is None or spec.scores is None or spec.types is None:
        raise ValueError("the model needs a vocabulary with scores and types")
    prefix = model.architecture
    metadata: dict[str, Any] = {"general.architecture": prefix, "general.name": model.name}
    metadata.update({f"{prefix}.{key}": value for key, value in model.hyperparameters.items()})
    metadata.update(
        {
            "tokenizer.ggml.model": spec.kind,
            "tokenizer.ggml.tokens": list(spec.tokens),
            "tokenizer.ggml.scores": np.asarray(spec.scores, dtype=np.float32),
            "tokenizer.ggml.token_type": np.asarray(spec.types, dtype=np.int32),
            "tokenizer.ggml.unknown_token_id": spec.special_ids["unknown"],
            "tokenizer.ggml.bos_token_id": spec.special_ids["bos"],
            "tokenizer.ggml.eos_token_id": spec.special_ids["eos"],
            "tokenizer.ggml.add_bos_token": True,
            "tokenizer.chat_template": TEMPLATE,
        }
    )
    write_gguf(path, metadata, model.tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--architecture", default="llama")
    parser.add_argument("--type", default="F32")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--context", type=int, default=512)
    options = parser.parse_args()
    model = toy_decoder(
        options.architecture,
        options.type,
        layers=options.layers,
        width=options.width,
        hidden=3 * options.width,
        context=options.context,
    )
    write_toy(options.out, model)


if __name__ == "__main__":
    main()
