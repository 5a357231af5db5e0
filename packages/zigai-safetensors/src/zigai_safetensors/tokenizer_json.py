"""tokenizer.json as a `TokenizerSpec`: BPE of bytes, or of characters with byte fallback, WordPiece, Unigram.

Source: the tokenizers library, whose file this is. What the file asks for and is not understood is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_safetensors import limits
from zigai_safetensors.added_tokens import extended, tokens_of_list, tokens_of_settings
from zigai_safetensors.files import read_json
from zigai_safetensors.pairs import pair_form
from zigai_safetensors.pipeline import byte_level, is_byte_level, outer_tokens, sentencepiece
from zigai_safetensors.unigram import UnigramVocabulary, unigram, unigram_vocabulary
from zigai_safetensors.vocabulary import merge_lines, texts_by_id, tokens_and_types
from zigai_safetensors.wordpiece import unknown_token, wordpiece

_ABSENT = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")


def read_tokenizer_json(path: Path, settings: Mapping[str, Any]) -> TokenizerSpec:
    """Returns the vocabulary, without the tokens that end a reply; roles are `bos`, `eos`, `unknown`.

    `settings` is tokenizer_config.json, whose `added_tokens_decoder` is added. Raises `FormatError` and
    `UnsupportedError`, with file and field.
    """
    file = read_json(path, limits.TOKENIZER_BYTES)
    model = _object(path, "model", file.get("model"))
    kind = model.get("type", "BPE")
    if kind not in ("BPE", "WordPiece", "Unigram"):
        raise UnsupportedError(
            f"{path}: a tokenizer of type {quote(kind)} is not read; BPE, WordPiece and Unigram are"
        )
    pieces, scored = kind == "WordPiece", kind == "Unigram"
    bytewise = is_byte_level(file) and kind == "BPE"
    vocabulary: UnigramVocabulary | None = None
    if scored:
        vocabulary = unigram_vocabulary(path, model)
        fields, texts = unigram(path, file), vocabulary.texts
    else:
        fields = wordpiece(path, file, model) if pieces else _bpe(path, file, model, bytewise=bytewise)
        texts = texts_by_id(path, _object(path, "model.vocab", model.get("vocab")))
    beside = path.with_name("tokenizer_config.json")
    added = tokens_of_list(path, file.get("added_tokens") or [])
    added = extended(beside, added, texts, tokens_of_settings(beside, settings))
    byte_fallback = vocabulary.byte_fallback if vocabulary else not (bytewise or pieces)
    tokens, types = tokens_and_types(path, texts, added, byte_fallback=byte_fallback)
    ids = {text: token for token, text in reversed(list(enumerate(tokens)))}
    bos, eos = outer_tokens(path, file.get("post_processor"), ids)
    special = {role: token for role, token in (("bos", bos), ("eos", eos)) if token is not None}
    if pieces:
        special["unknown"] = unknown_token(path, model, ids)
    if vocabulary is not None:
        special["unknown"] = vocabulary.unknown
        fields["scores"] = vocabulary.scores_of(len(tokens))
    return TokenizerSpec(
        kind="bert" if pieces else "unigram" if scored else "gpt2" if bytewise else "bpe",
        tokens=tokens,
        types=types,
        special_ids=special,
        add_bos=bos is not None,
        add_eos=eos is not None,
        normalized=frozenset(token.id for token in added if token.normalized),
        strip_left=frozenset(token.id for token in added if token.lstrip),
        strip_right=frozenset(token.id for token in added if token.rstrip),
        **pair_form(file.get("post_processor"), ids, bos, eos, settings.get("model_input_names")),
        **fields,
    )


def _bpe(path: Path, file: Mapping[str, Any], model: Mapping[str, Any], *, bytewise: bool) -> dict[str, Any]:
    _check_model(path, model, bytewise=bytewise)
    splitting = byte_level(path, file) if bytewise else sentencepiece(path, file)
    found: dict[str, Any] = {"splits": splitting.splits, "normalizer": splitting.normalizer}
    found["merges"] = merge_lines(path, model.get("merges"))
    found["ignore_merges"] = bool(model.get("ignore_merges", False))
    if not bytewise:
        found |= {"add_space_prefix": splitting.prefix, "prefix_scheme": splitting.scheme}
    return found


def _check_model(path: Path, model: Mapping[str, Any], *, bytewise: bool) -> None:
    for key in _ABSENT:
        if model.get(key):
            raise UnsupportedError(f"{path}: model.{key} is {quote(model[key])}, which is not supported")
    fallback = bool(model.get("byte_fallback", False))
    if fallback and bytewise:
        raise UnsupportedError(
            f"{path}: model.byte_fallback is True of byte-level BPE, which is not supported"
        )
    if not fallback and not bytewise:
        raise UnsupportedError(
            f"{path}: it is neither byte-level BPE nor BPE with model.byte_fallback, and no other kind of "
            "tokenizer.json is read: use a GGUF file of this model"
        )


def _object(path: Path, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{path}: {name} is {quote(value)}, but must be an object")
    return value
