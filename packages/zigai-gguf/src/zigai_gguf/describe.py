"""Conversion of a GGUF file into a `ModelDescriptor`."""

from __future__ import annotations

from zigai_core.contracts.descriptor import Conventions, Hyperparameters, ModelDescriptor
from zigai_gguf import limits
from zigai_gguf.experts import join_experts
from zigai_gguf.fused_experts import split_experts
from zigai_gguf.keys import Keys
from zigai_gguf.reader import GGUFFile
from zigai_gguf.rope_pairing import rope_pairing
from zigai_gguf.sampling import read_sampling
from zigai_gguf.vocabulary import read_vocabulary


def describe(file: GGUFFile) -> ModelDescriptor:
    """Returns the descriptor of the model in `file`.

    Raises `FormatError` naming the key if metadata is invalid.
    """
    keys = Keys(file.path, file.metadata)
    architecture = keys.text("general.architecture")
    if not architecture:
        raise keys.error(
            "general.architecture",
            "is missing or empty, so the architecture of the model is unknown; convert the model again",
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
        tensors=split_experts(join_experts(file.tensors, file.path), file.path),
        tokenizer=read_vocabulary(keys),
        chat_template=keys.text("tokenizer.chat_template"),
        metadata=file.metadata,
        sampling=read_sampling(keys),
        conventions=Conventions(rope_pairing=rope_pairing(architecture, hyperparameters)),
        format=f"GGUF v{file.version}" + (f" in {len(file.parts)} files" if file.parts else ""),
        path=file.path,
        files=file.parts,
    )


def _check_block_count(keys: Keys, key: str, tensors: int) -> None:
    """Checks the layer count against the tensor count: architectures loop over it."""
    count = keys.integer(key)
    if count is None:
        return
    if not 1 <= count <= limits.BLOCKS:
        raise keys.error(key, f"is {count}, but must be within 1..{limits.BLOCKS}")
    # A file with only a vocabulary has no tensors but keeps the layer count of its model.
    if tensors and count > tensors:
        raise keys.error(key, f"is {count}, but the file has only {tensors} tensors")
