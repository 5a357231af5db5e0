"""GGUF files with the shapes of published models and random weights: speed depends only on the shape."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from zigai_cli.measure.shapes import random_model
from zigai_core.testing.toys import toy_vocabulary
from zigai_gguf import write_gguf
from zigai_tokenizers.byte_alphabet import CHARACTERS

CONTEXT = 8192
"""Smallest context of a file, in tokens, so that every shape can be measured at every depth."""
MANY_TOKENS = 100_000
"""From this size on a vocabulary is made as byte-level BPE, a smaller one as SentencePiece's."""


def find(named: str, folder: Path | None) -> Path:
    """Return the path of a model. `named`: a path, or SHAPE:TYPE for a file that is made in `folder`.

    A file that was made before is used again.

    Raises `SystemExit` if there is no such file, `UnsupportedError` for an unknown shape or type.
    """
    path = Path(named)
    if path.exists():
        return path
    shape, colon, mix = named.partition(":")
    if not colon or "/" in named:
        raise SystemExit(f"{named}: neither a file nor SHAPE:TYPE such as llama2-7b:Q4_K_M")
    if folder is None:
        raise SystemExit(f"{named}: --models must name a folder for files with random weights")
    path = folder / f"{shape}.{mix}.random.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(path, shape, mix)
    return path


def write(path: Path, shape: str, mix: str) -> None:
    """Write `zigai_cli.measure.shapes.random_model(shape, mix)` with an artificial vocabulary of its size."""
    model = random_model(shape, mix)
    numbers = dict(model.hyperparameters)
    numbers["context_length"] = max(CONTEXT, numbers["context_length"])
    metadata: dict[str, Any] = {"general.architecture": model.architecture, "general.name": f"{shape}:{mix}"}
    metadata.update({f"{model.architecture}.{key}": value for key, value in numbers.items()})
    size = numbers["vocab_size"]
    pre_tokenizer = "llama-bpe" if model.architecture == "llama" else "qwen2"
    metadata.update(byte_level(size, pre_tokenizer) if size >= MANY_TOKENS else sentencepiece(size))
    write_gguf(path, metadata, model.tensors)


def sentencepiece(size: int) -> dict[str, Any]:
    """Metadata of a vocabulary of kind `llama`: unknown, bos, eos, the bytes, then words by falling score."""
    spec = toy_vocabulary(size)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": list(spec.tokens),
        "tokenizer.ggml.scores": spec.scores,
        "tokenizer.ggml.token_type": spec.types,
        **{f"tokenizer.ggml.{role}_token_id": token for role, token in spec.special_ids.items()},
    }


def byte_level(size: int, pre_tokenizer: str, special: int = 293) -> dict[str, Any]:
    """Metadata of a vocabulary of kind `gpt2`: bytes, all pairs of them, some triples, then special tokens.

    Every token of two or more bytes is the merge of the token without its last byte and that byte.
    """
    merges = [
        f"{''.join(longer[:-1])} {longer[-1]}"
        for longer in itertools.islice(
            itertools.chain.from_iterable(itertools.product(CHARACTERS, repeat=length) for length in (2, 3)),
            size - len(CHARACTERS) - special,
        )
    ]
    tokens = [*CHARACTERS, *(merge.replace(" ", "") for merge in merges)]
    control = size - len(tokens)
    tokens += [f"<|special_{index}|>" for index in range(control)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre_tokenizer,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": np.array([1] * (size - control) + [3] * control, dtype=np.int32),
        "tokenizer.ggml.bos_token_id": size - control,
        "tokenizer.ggml.eos_token_id": size - control + 1,
        "tokenizer.ggml.add_bos_token": False,
    }
