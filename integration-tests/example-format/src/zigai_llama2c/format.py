"""The `FormatReader` of llama2.c's checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

from zigai_core.contracts.descriptor import Conventions, Hyperparameters, ModelDescriptor
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import FormatError
from zigai_core.contracts.mapped_file import MappedFile
from zigai_llama2c.header import HEADER_BYTES, Header
from zigai_llama2c.vocabulary import read_vocabulary

SUFFIX, VOCABULARY = ".bin", "tokenizer.bin"


class Llama2cFormat:
    """Reads checkpoints of llama2.c, version 0; registered as the format `llama2c`.

    `tokenizer.bin` in the same folder is the vocabulary; without it the model has none.
    """

    def recognises(self, path: Path) -> bool:
        """True for a file `*.bin` with a plausible header and of exactly the size that it gives.

        The format has no magic number.
        """
        try:
            if path.suffix != SUFFIX or not path.is_file():
                return False
            with path.open("rb") as file:
                Header.parse(path, file.read(HEADER_BYTES), path.stat().st_size)
        except (OSError, ValueError, FormatError):  # ValueError: a NUL in the path
            return False
        return True

    def read(self, path: Path) -> ModelDescriptor:
        """Returns the descriptor. Tensors are views of the mapped file.

        Raises `FormatError` for a checkpoint or a vocabulary that is damaged, or if one is not the other's;
        `UnsupportedError` for a vocabulary of an older version.
        """
        file = MappedFile(path)
        header = Header.parse(path, file.memory[:HEADER_BYTES], len(file.memory))
        dtype = DTYPES["F32"]
        values = {
            "vocab_size": header.vocab_size,
            "context_length": header.seq_len,
            "embedding_length": header.dim,
            "block_count": header.n_layers,
            "feed_forward_length": header.hidden_dim,
            "attention.head_count": header.n_heads,
            "attention.head_count_kv": header.n_kv_heads,
            "attention.key_length": header.head_size,
            "attention.value_length": header.head_size,
            # Constants of run.c: `rmsnorm`, and the angles of RoPE in `forward`.
            "attention.layer_norm_rms_epsilon": 1e-5,
            "rope.dimension_count": header.head_size,
            "rope.freq_base": 10000.0,
        }
        vocabulary = path.parent / VOCABULARY
        found = vocabulary.exists()
        return ModelDescriptor(
            name=path.stem,
            architecture="llama",
            hyperparameters=Hyperparameters(values, prefix="llama", source=str(path)),
            tensors={
                name: file.tensor(name, shape, dtype, begin, 4 * math.prod(shape))
                for name, shape, begin in header.tensors()
            },
            tokenizer=read_vocabulary(vocabulary, header.vocab_size) if found else None,
            metadata=vars(header),
            conventions=Conventions(rope_pairing="adjacent"),  # elements 2i and 2i + 1 of a head
            format="llama2.c v0",
            path=path,
            files=(path, vocabulary) if found else (),
        )
