"""Writes the output of train.py as GGUF files in F32, Q8_0 and Q4_K_M: `python export.py qwen2 FOLDER`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from committed import BUNDLED, HERE, SAMPLING, note_checksums
from network import SHAPES, Shape
from numpy.typing import NDArray
from quantize import Floats, quantize
from vocabularies import CHATML, LLAMA2, LlamaVocabulary, Qwen2Vocabulary

from zigai_cli.measure.shapes import stored_as
from zigai_core.contracts.descriptor import TensorInfo
from zigai_gguf import write_gguf

FILE_TYPES = {"F32": 0, "Q8_0": 7, "Q4_K_M": 15}
"""`general.file_type` in the GGUF specification."""
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
"""`tokenizer.ggml.token_type` in the GGUF specification."""

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Tensor names of a layer in transformers, with their names in GGUF."""


def file_name(family: str, mix: str) -> str:
    """The file name of a model."""
    return f"reference-{family}.{mix}.gguf"


def named_weights(weights: Mapping[str, Floats], shape: Shape) -> dict[str, Floats]:
    """Weights by their GGUF names. LLaMA's query and key rows are reordered: RoPE pairs become adjacent."""
    named = {"token_embd.weight": weights["model.embed_tokens.weight"]}
    for layer in range(shape.layers):
        for theirs, ours in NAMES.items():
            for kind in ("weight", "bias"):
                key = f"model.layers.{layer}.{theirs}.{kind}"
                if key not in weights:
                    continue
                values = weights[key]
                if shape.family == "llama" and ours in ("attn_q", "attn_k"):
                    values = interleave(values, shape.head_width)
                named[f"blk.{layer}.{ours}.{kind}"] = values
    named["output_norm.weight"] = weights["model.norm.weight"]
    if not shape.tied:
        named["output.weight"] = weights["lm_head.weight"]
    return named


def interleave(rows: Floats, head_width: int) -> Floats:
    """Reorder the rows of each head so that rows half a head apart become adjacent."""
    halves = rows.reshape(-1, 2, head_width // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def store(named: Mapping[str, Floats], mix: str, shape: Shape) -> dict[str, TensorInfo]:
    """Quantise the matrices to the types of a mixture; vectors stay F32."""
    stored = {}
    for name, values in named.items():
        dtype = "F32"
        if values.ndim > 1:
            dtype = stored_as(mix, name, values.shape[-1], layers=shape.layers, tied=shape.tied)
        stored[name] = quantize(name, values, dtype)
    return stored


def describe(shape: Shape, mix: str) -> dict[str, Any]:
    """GGUF metadata of the network."""
    family = shape.family
    return {
        "general.architecture": family,
        "general.name": f"reference-{family}",
        "general.description": "A tiny reference model of ZigAI, trained on made dialogues; "
        "integration-tests/reference_models makes it.",
        "general.license": "apache-2.0",
        "general.file_type": FILE_TYPES[mix],
        **SAMPLING,
        f"{family}.vocab_size": shape.vocabulary,
        f"{family}.context_length": shape.context,
        f"{family}.embedding_length": shape.width,
        f"{family}.block_count": shape.layers,
        f"{family}.feed_forward_length": shape.feed_forward,
        f"{family}.attention.head_count": shape.heads,
        f"{family}.attention.head_count_kv": shape.kv_heads,
        f"{family}.attention.layer_norm_rms_epsilon": shape.epsilon,
        f"{family}.rope.freq_base": shape.rope_base,
        f"{family}.rope.dimension_count": shape.head_width,
    }


def describe_qwen2_tokenizer(folder: Path) -> dict[str, Any]:
    """GGUF metadata of the byte-level BPE in the folder's `tokenizer.json`."""
    import json

    vocabulary = Qwen2Vocabulary(folder / Qwen2Vocabulary.FILE)
    model = json.loads(vocabulary.path.read_text(encoding="utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    types = [CONTROL if token in vocabulary.SPECIAL else NORMAL for token in tokens]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.asarray(types, np.int32),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": vocabulary.padding,
        "tokenizer.ggml.padding_token_id": vocabulary.padding,
        "tokenizer.ggml.eos_token_id": vocabulary.end,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }


def describe_llama_tokenizer(folder: Path) -> dict[str, Any]:
    """GGUF metadata of the folder's SentencePiece model."""
    vocabulary = LlamaVocabulary(folder / LlamaVocabulary.FILE)
    pieces = vocabulary.tokenizer
    ids = range(pieces.get_piece_size())
    types = [
        UNKNOWN
        if pieces.is_unknown(i)
        else CONTROL
        if pieces.is_control(i)
        else BYTE
        if pieces.is_byte(i)
        else NORMAL
        for i in ids
    ]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [pieces.id_to_piece(i) for i in ids],
        "tokenizer.ggml.scores": np.asarray([pieces.get_score(i) for i in ids], np.float32),
        "tokenizer.ggml.token_type": np.asarray(types, np.int32),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": vocabulary.start,
        "tokenizer.ggml.eos_token_id": vocabulary.end,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.chat_template": LLAMA2,
    }


def place(family: str, mix: str, folder: Path) -> Path:
    """The path of a file: F32 beside the trained weights, the bundled one in `zigai`, the rest here."""
    if mix == "F32":
        return folder / file_name(family, mix)
    return (BUNDLED if (family, mix) == ("qwen2", "Q8_0") else HERE) / file_name(family, mix)


def export(family: str, folder: Path) -> list[Path]:
    """Write one file per mixture. Returns their paths."""
    from safetensors.numpy import load_file

    shape = SHAPES[family]
    weights: dict[str, NDArray[Any]] = load_file(folder / "model.safetensors")
    named = named_weights(weights, shape)
    tokenizer = {"qwen2": describe_qwen2_tokenizer, "llama": describe_llama_tokenizer}[family](folder)
    paths = []
    for mix in FILE_TYPES:
        paths.append(place(family, mix, folder))
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        write_gguf(paths[-1], {**describe(shape, mix), **tokenizer}, store(named, mix, shape))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("family", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path, help="the output folder of train.py")
    options = parser.parse_args()
    for path in export(options.family, options.folder):
        print(f"{path} {path.stat().st_size:,} bytes")
    note_checksums()


if __name__ == "__main__":
    main()
