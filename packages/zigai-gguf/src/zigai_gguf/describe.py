"""A GGUF file as a `ModelDescriptor`."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Conventions, Hyperparameters, ModelDescriptor
from zigai_core.contracts.errors import UnsupportedError
from zigai_gguf import limits
from zigai_gguf.keys import Keys
from zigai_gguf.reader import GGUFFile
from zigai_gguf.rope_pairing import rope_pairing
from zigai_gguf.vocabulary import read_vocabulary


def describe(file: GGUFFile) -> ModelDescriptor:
    """The model in `file`.

    `FormatError` naming the key where the metadata is not sound, `UnsupportedError` for a part of a split
    model.
    """
    keys = Keys(file.path, file.metadata)
    _refuse_part(keys)
    architecture = keys.text("general.architecture")
    if not architecture:
        raise keys.error(
            "general.architecture", "is missing or empty, so what kind of model this is cannot be known"
        )
    _check_block_count(keys, f"{architecture}.block_count", len(file.tensors))
    prefix = f"{architecture}."
    hyperparameters = {
        key[len(prefix) :]: value for key, value in file.metadata.items() if key.startswith(prefix)
    }
    return ModelDescriptor(
        name=keys.label("general.name") or file.path.stem,
        architecture=architecture,
        hyperparameters=Hyperparameters(hyperparameters, prefix=architecture, source=str(file.path)),
        tensors=file.tensors,
        tokenizer=read_vocabulary(keys),
        chat_template=keys.text("tokenizer.chat_template"),
        metadata=file.metadata,
        conventions=Conventions(rope_pairing=rope_pairing(architecture, hyperparameters)),
        format=f"GGUF v{file.version}",
        path=file.path,
    )


def _refuse_part(keys: Keys) -> None:
    count = keys.integer("split.count")
    if count is None or count in (0, 1):
        return
    if not 0 <= count < 1 << 16:
        raise keys.error("split.count", f"is {count}, it must be within 0..65535")
    number = keys.integer("split.no") or 0
    raise UnsupportedError(
        f"{keys.path}: is part {number + 1} of a model split into {count} files, which is not read; "
        "merge the parts with `llama-gguf-split --merge FIRST MERGED.gguf`, where FIRST is the one named "
        f"…-00001-of-{count:05}.gguf"
    )


def _check_block_count(keys: Keys, key: str, tensors: int) -> None:
    """Architectures loop over the layers: a count that no tensors can serve must not reach them."""
    count = keys.integer(key)
    if count is None:
        return
    if not 1 <= count <= limits.BLOCKS:
        raise keys.error(key, f"is {count}, it must be within 1..{limits.BLOCKS}")
    # A file that holds a vocabulary alone keeps the layer count of its model.
    if tensors and count > tensors:
        raise keys.error(key, f"is {count}, but the file has only {tensors} tensors")
