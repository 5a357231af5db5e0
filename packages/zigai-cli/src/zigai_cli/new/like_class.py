"""A package for a class of transformers: its names, guessed, and the plain decoder as its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import tomlkit

from zigai_cli.new import recording
from zigai_cli.new.naming import PackageName
from zigai_cli.new.package import architecture_entry_points, code_mapping, json_text, package_files
from zigai_cli.new.providers import oracle_extra
from zigai_cli.new.tiny_model import READER, TinyModel


def class_files(name: PackageName, entry: str, model: TinyModel) -> dict[str, str]:
    """The files of the package, by path. `entry`: the name of the architecture in model files."""
    keys = model.keys
    commented = " Lines that are\ncommented out have no name yet." if model.unnamed or keys.unknown else ""
    case = {"class": model.model_class, **({"config": dict(model.settings)} if model.settings else {})}
    values = {
        "entry": entry,
        "model_type": model.model_type,
        "model_class": model.model_class,
        "subject": f"`{entry}`",
        "description": f"The architecture {entry} for ZigAI.",
        "summary": (
            f"The architecture `{entry}` for ZigAI: a function that builds the graph of a model, which is\n"
            f"`{model.model_class}` in transformers."
        ),
        "record_step": "Name every tensor and key in `huggingface.py`, then record oracles: `nox -s oracle`.",
        "about_names": (
            f"From what transformers {model.version} saves of a tiny {model.model_class}. The names on the\n"
            f"right are guesses, by those on the left.{commented}"
        ),
        "tensors": code_mapping(model.names, 4, {each: list(shape) for each, shape in model.shapes.items()}),
        "keys": code_mapping({**keys.keys, **dict.fromkeys(keys.unknown)}, 4, keys.unknown),
        "required": code_mapping({key: (value,) for key, value in keys.required.items()}, 8),
        "keys_without_effect": code_mapping(keys.left_out, 8),
        "case": tomlkit.dumps({name.name: case}).strip(),
        "extras": oracle_extra(READER),
        "entry_points": architecture_entry_points(name, entry, model.model_type),
    }
    return package_files(["architecture", "like_class"], name, values)


def finish(folder: Path, name: PackageName, entry: str, model: TinyModel) -> list[str]:
    """Records the oracle of a package that was written, if all is named. Returns what is left to do."""
    names = f"src/{name.module}/huggingface.py"
    left = []
    if model.unnamed:
        left.append(
            f"{names}: tensors without a name: {_listed(model.unnamed)}; name them in "
            "TENSORS, or give the reason why they have no effect in tensors_without_effect"
        )
    if model.keys.unknown:
        left.append(_unknown_keys(names, model.keys.unknown))
    if left:
        no_oracle = "there is no oracle, so the tests fail; once all is named, record it: nox -s oracle"
        return [*left, f"tests/oracles: {no_oracle}"]
    if reason := recording.record(folder, name):
        return [f"tests/oracles: the oracle could not be recorded, so the tests fail: {reason}"]
    if unknown := recording.unknown_keys(folder):
        return [_unknown_keys(names, unknown), "tests/oracles: then record the oracle again: nox -s oracle"]
    if found := recording.difference_of(folder, name, entry):
        return [
            f"src/{name.module}/__init__.py: the graph is a plain decoder; the oracle's tests say where "
            f"{model.model_class} differs from it: {found}"
        ]
    return []


def _unknown_keys(names: str, unknown: Mapping[str, object]) -> str:
    listed = _listed(f"{key} = {json_text(value)}" for key, value in unknown.items())
    return (
        f"{names}: keys of config.json that are not known: {listed}; make each a hyperparameter in "
        "KEYS, its value the only one in required, or give the reason why it has no effect in "
        "keys_without_effect"
    )


def _listed(names: Iterable[str], most: int = 6) -> str:
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
