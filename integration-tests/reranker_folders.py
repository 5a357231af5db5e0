"""Tiny rerankers as folders of Hugging Face: a class of each family, with a tokenizer of its kind.

Weights are drawn by their names, so that nothing but the scores of transformers has to be kept:
integration-tests/oracle/rerankers.py records them.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.testing.oracles.oracle import drawn

Array = np.ndarray[Any, Any]

WIDTH, HIDDEN, LAYERS = 32, 48, 2
QUERY = "what is a panda?"
DOCUMENTS = (
    "hi",
    "the giant panda is a bear",
    "",
    "a panda eats bamboo, and a bear eats fish.",
    "what is a panda?",
)
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
}


def part(token: str, kind: int = 0) -> dict[str, Any]:
    """A token of a template, or one of its texts."""
    return {"Sequence" if token in ("A", "B") else "SpecialToken": {"id": token, "type_id": kind}}


def template(first: str, last: str, between: int, kind: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """A post-processor for texts and pairs; `kind`: the type of the second text."""
    single = [part(first), part("A"), part(last)]
    pair = [part(first), part("A"), *[part(last)] * between, part("B", kind), part(last, kind)]
    special = {text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in (first, last)}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def file(specials: list[str], **parts: Any) -> dict[str, Any]:
    """The content of tokenizer.json, whose first tokens are `specials`."""
    added = [{"id": token, "content": text, **FLAGS} for token, text in enumerate(specials)]
    outer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return {**outer, "normalizer": None, **parts}


LETTERS = "abcdefghijklmnopqrstuvwxyz"
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [*BERT_SPECIALS, *"?.,", "panda", "bear", "what", "is", *LETTERS, *(f"##{each}" for each in LETTERS)]
BERT_IDS = {text: token for token, text in enumerate(WORDS)}
WORDPIECE = file(
    BERT_SPECIALS,
    normalizer={
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    pre_tokenizer={"type": "BertPreTokenizer"},
    post_processor=template("[CLS]", "[SEP]", 1, 1, BERT_IDS),
    decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    model={
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": BERT_IDS,
    },
)
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
BYTES = [*SPECIALS, *LETTERS, *"?.,", "\u0120", "pa", "nda", "panda", "\u0120panda"]
BYTE_LEVEL = file(
    SPECIALS,
    pre_tokenizer={
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    },
    post_processor={
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 0],
        "trim_offsets": True,
        "add_prefix_space": False,
    },
    decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    model={
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {text: token for token, text in enumerate(BYTES)},
        "merges": ["p a", "n d", "nd a", "pa nda", "\u0120 panda"],
    },
)
BYTE_LEVEL["model"]["vocab"]["nd"] = len(BYTES)
SPACE = "\u2581"
PIECES = [
    *SPECIALS,
    SPACE,
    *LETTERS,
    *"?.,",
    f"{SPACE}panda",
    f"{SPACE}a",
    "ea",
    f"{SPACE}bear",
    f"{SPACE}is",
]
UNIGRAM = file(
    SPECIALS,
    pre_tokenizer={"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True},
    post_processor=template("<s>", "</s>", 2, 0, {"<s>": 0, "</s>": 2}),
    decoder={"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True},
    model={
        "type": "Unigram",
        "unk_id": 3,
        "vocab": [[text, 0.0 if token < 4 else -1.0 - token / 16] for token, text in enumerate(PIECES)],
        "byte_fallback": False,
    },
)
BERT_CONFIG = {**SIZES, "hidden_act": "gelu", "layer_norm_eps": 1e-2, "max_position_embeddings": 130}
ROBERTA_TOKENS = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "bert": (
        {"model_type": "bert", "architectures": ["BertForSequenceClassification"], **BERT_CONFIG},
        WORDPIECE,
        {
            "tokenizer_class": "BertTokenizer",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
        },
    ),
    "roberta": (
        {"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"], **BERT_CONFIG},
        BYTE_LEVEL,
        {
            "tokenizer_class": "RobertaTokenizer",
            "cls_token": "<s>",
            "sep_token": "</s>",
            "pad_token": "<pad>",
        },
    ),
    "xlm-roberta": (
        {
            "model_type": "xlm-roberta",
            "architectures": ["XLMRobertaForSequenceClassification"],
            **BERT_CONFIG,
        },
        UNIGRAM,
        ROBERTA_TOKENS,
    ),
}
"""By name: config.json, tokenizer.json and tokenizer_config.json."""


def shapes(config: Mapping[str, Any], size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a model of BERT's form with a head, by its name in transformers."""
    own = "bert" if config["model_type"] == "bert" else "roberta"
    types = config["type_vocab_size"]
    found: dict[str, tuple[int, ...]] = {
        f"{own}.embeddings.word_embeddings.weight": (size, WIDTH),
        f"{own}.embeddings.position_embeddings.weight": (config["max_position_embeddings"], WIDTH),
        f"{own}.embeddings.token_type_embeddings.weight": (types, WIDTH),
    }
    linear = {f"{own}.pooler.dense": (WIDTH, WIDTH), "classifier": (1, WIDTH)}
    if own == "roberta":
        linear = {"classifier.dense": (WIDTH, WIDTH), "classifier.out_proj": (1, WIDTH)}
    norms = [f"{own}.embeddings.LayerNorm"]
    for layer in range(LAYERS):
        at = f"{own}.encoder.layer.{layer}"
        parts = (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        )
        linear |= {f"{at}.{each}": (WIDTH, WIDTH) for each in parts}
        linear |= {f"{at}.intermediate.dense": (HIDDEN, WIDTH), f"{at}.output.dense": (WIDTH, HIDDEN)}
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    found |= {f"{name}.weight": shape for name, shape in linear.items()}
    found |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
    found |= {f"{name}.{kind}": (WIDTH,) for name in norms for kind in ("weight", "bias")}
    return found


def write(name: str, folder: Path) -> Path:
    """Writes the folder of a model."""
    config, tokenizer, settings = MODELS[name]
    vocab = tokenizer["model"]["vocab"]
    typed = {"vocab_size": len(vocab), "type_vocab_size": 2 if name == "bert" else 1}
    config = {**config, **typed, "pad_token_id": 0 if name == "bert" else 1}
    arrays: dict[str, Array] = {}
    for tensor, shape in shapes(config, len(vocab)).items():
        usual = np.full(shape, float(tensor.endswith("LayerNorm.weight")), np.float32)
        arrays[tensor] = drawn(usual, np.random.RandomState(zlib.crc32(tensor.encode())))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor, array in arrays.items():
        header[tensor] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            out.write(np.ascontiguousarray(array, "<f4").tobytes())
    for file_name, content in (
        ("config.json", config),
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", settings),
    ):
        (folder / file_name).write_text(json.dumps(content), encoding="utf-8")
    return folder
