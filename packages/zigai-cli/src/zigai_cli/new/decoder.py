"""A package with a decoder of the LLaMA kind, and recorded oracles of it, so that its tests pass at once."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from importlib import resources
from pathlib import Path

from zigai_cli.new.config_keys import sorted_keys
from zigai_cli.new.naming import PackageName
from zigai_cli.new.package import architecture_entry_points, code_mapping, package_files
from zigai_cli.new.providers import oracle_extra
from zigai_cli.new.tensor_names import guesses
from zigai_cli.new.tiny_model import READER
from zigai_core.contracts.huggingface import HuggingFaceNames

_PARTS = (
    *("embed_tokens", "norm", "layers.{}.input_layernorm", "layers.{}.post_attention_layernorm"),
    *(f"layers.{{}}.self_attn.{each}_proj" for each in "qkvo"),
    *(f"layers.{{}}.mlp.{each}_proj" for each in ("gate", "up", "down")),
)
_TENSORS = (*(f"model.{part}.weight" for part in _PARTS), "lm_head.weight")
_REQUIRED = {"hidden_act": ("silu",)}
_CONFIG = (
    *("vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps"),
    *("attention_bias", "mlp_bias", "attention_dropout", "initializer_range", "pretraining_tp"),
)
"""Keys of config.json."""
_SORTED = sorted_keys(dict.fromkeys(_CONFIG), frozenset())
_RECORD = (
    "Record oracles of it: put its class in transformers into `tests/oracles/cases.toml`, its `model_type`\n"
    "   into `pyproject.toml`, take `change` out of the former, and run `nox -s oracle`. Until then they\n"
    "   are a LLaMA's."
)


def decoder_files(name: PackageName, entry: str) -> dict[str, str | bytes]:
    """The files of the package, by path. `entry`: the name of the architecture in model files."""
    values = {
        "entry": entry,
        "model_type": entry,
        "subject": f"`{entry}`",
        "description": f"The architecture {entry} for ZigAI.",
        "summary": f"The architecture `{entry}` for ZigAI: a function that builds the graph of a model.",
        "record_step": _RECORD,
        "about_names": (
            "Those of a LLaMA in transformers (models/llama), whose modules and configuration keys are\n"
            "named here: replace them by the model's own."
        ),
        "tensors": code_mapping(guesses(_TENSORS), 4),
        "keys": code_mapping(_SORTED.keys, 4),
        "required": code_mapping(_REQUIRED, 8),
        "keys_without_effect": code_mapping(_SORTED.left_out, 8),
        "extras": oracle_extra(READER, ("zigai.huggingface", "llama")),
        "entry_points": architecture_entry_points(name, entry, entry),
    }
    files: dict[str, str | bytes] = {**package_files(["architecture", "decoder"], name, values)}
    for variant in ("", "-tied"):
        stem = f"{name.name}{variant}"
        files[f"tests/oracles/{stem}.npz"] = renamed_oracle(f"decoder{variant}.npz", stem, entry)
    return files


def renamed_oracle(recorded: str, name: str, entry: str) -> bytes:
    """The content of a recorded oracle of this package, as that of a model of the architecture `entry`."""
    from zigai_core.testing.oracles import Oracle
    from zigai_core.testing.oracles.names import other_names

    named = {theirs: ours for theirs, ours in guesses(_TENSORS).items() if ours is not None}
    own = HuggingFaceNames(
        entry, named, _SORTED.keys, required=_REQUIRED, keys_without_effect=_SORTED.left_out
    )
    with resources.as_file(resources.files("zigai_cli.new") / "oracles" / recorded) as path:
        oracle = Oracle.load(path)
    model = replace(oracle.model, name=name, architecture=entry)
    with tempfile.TemporaryDirectory() as folder:
        names = {**oracle.names, "model_type": entry, "architecture": entry, **other_names(own)}
        replace(oracle, model=model, names=names).save(Path(folder, "oracle.npz"))
        return Path(folder, "oracle.npz").read_bytes()
