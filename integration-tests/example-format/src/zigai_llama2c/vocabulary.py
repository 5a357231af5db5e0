"""The vocabulary in a file `tokenizer.bin`.

Source: llama2.c (https://github.com/karpathy/llama2.c), `export` of tokenizer.py and `build_tokenizer`,
`encode` and `generate` of run.c. Layout: the length of the longest token as int32; then of each token its
score as float32, the number of its bytes as int32, and these bytes, all little-endian. Spaces stand for
SentencePiece's U+2581; the tokens 0, 1 and 2 are unknown, BOS and EOS, of which the last two have line breaks
around them. A reply ends with either.
"""

from __future__ import annotations

import re
import stat
import struct
from pathlib import Path

import numpy as np

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote

MOST_BYTES = 16 << 20
"""Largest file that is read. That of Llama 2, of 32,000 tokens, has 0.4 MB."""

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def read_vocabulary(path: Path, count: int) -> TokenizerSpec:
    """Returns the vocabulary of a model with `count` tokens.

    Raises `FormatError`, with offset and token, for a file that is damaged or has another number of tokens,
    `UnsupportedError` for one that stores byte tokens as characters.
    """
    content = _content(path)
    if len(content) < 4:
        raise FormatError(f"{path}: byte 0: the longest token's length takes 4 bytes, of {len(content)}")
    longest = struct.unpack_from("<i", content)[0]
    if count < 3:
        raise FormatError(f"{path}: the model has {count} tokens, fewer than unknown, BOS and EOS")
    at, tokens, scores = 4, list[str](), list[float]()
    for index in range(count):
        if len(content) - at < 8:
            raise FormatError(
                f"{path}: byte {at}: ends before token {index} of {count}: cut short, or not this model's"
            )
        score, length = struct.unpack_from("<fi", content, at)
        at += 8
        if not 0 <= length <= min(longest, len(content) - at):
            raise FormatError(
                f"{path}: byte {at - 4}: token {index} has {length} bytes, but {len(content) - at} follow, "
                f"and the longest token has {longest}"
            )
        if not np.isfinite(score):
            raise FormatError(f"{path}: byte {at - 8}: the score of token {index} is {score}")
        tokens.append(_text(path, index, content[at : at + length]))
        scores.append(score)
        at += length
    if at != len(content):
        raise FormatError(
            f"{path}: byte {at}: {len(content) - at} bytes follow the {count} tokens of the model: it is the "
            "vocabulary of another one"
        )
    if count > 13 and tokens[3] == "\0" and tokens[13] == "\n":
        raise UnsupportedError(
            f"{path}: stores byte tokens as characters, as older versions of llama2.c did; export it again"
        )
    types = [BYTE if _BYTE.fullmatch(token) else NORMAL for token in tokens]
    types[:3] = [UNKNOWN, CONTROL, CONTROL]
    return TokenizerSpec(
        kind="llama",
        tokens=tokens,
        scores=np.array(scores, np.float32),
        types=np.array(types, np.int32),
        special_ids={"unknown": 0, "bos": 1, "eos": 2},
        end_ids=frozenset({1, 2}),
        add_bos=True,
    )


def _content(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise FormatError(f"{path}: is not a regular file")
        if found.st_size > MOST_BYTES:
            raise FormatError(f"{path}: has {found.st_size} bytes; at most {MOST_BYTES} are read")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from None


def _text(path: Path, index: int, stored: bytes) -> str:
    try:
        text = stored.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{path}: token {index} is not UTF-8: {quote(stored)}") from None
    return text.strip("\n") if index in (1, 2) else text.replace(" ", "\u2581")
