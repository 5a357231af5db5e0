"""A tiny model of a class of transformers: its settings, and the tensors that its folder has."""

from __future__ import annotations

import importlib
import importlib.util
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from zigai_cli.failure import InputError
from zigai_cli.new.config_keys import SortedKeys, sorted_keys
from zigai_cli.new.providers import provider
from zigai_cli.new.tensor_names import guesses, pattern
from zigai_cli.new.tiny_sizes import tiny_sizes
from zigai_core.contracts.errors import UnsupportedError, quote

LARGEST = 2_000_000
"""Parameters of the largest model that counts as tiny: an oracle of it has some megabytes."""

NEEDED = ("torch", "transformers", "safetensors")
READER = ("zigai.formats", "safetensors")
"""Group and name of the format of the folders that transformers saves, to record an oracle."""


@dataclass(frozen=True)
class TinyModel:
    """A class of transformers with tiny sizes."""

    model_class: str
    version: str
    """The version of transformers."""
    model_type: str
    settings: Mapping[str, Any]
    """The configuration on top of `zigai_core.testing.oracles.tiny_folder.SMALL`."""
    shapes: Mapping[str, tuple[int, ...]]
    """The shape of each tensor in a file, by its pattern; of one in a layer or expert, the first one's."""
    names: Mapping[str, str | None]
    """GGUF's name by pattern; None for one that is not known."""
    keys: SortedKeys

    @property
    def unnamed(self) -> list[str]:
        """The patterns of tensors whose names are not known."""
        return [theirs for theirs, ours in self.names.items() if ours is None]


def check_installed() -> None:
    """Raises `UnsupportedError` if something is missing that `tiny_model` or recording an oracle needs."""
    from zigai_core.api.registry import Plugins

    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise _missing(name, "which is not installed")
    if READER[1] not in Plugins.installed().formats:
        raise _missing(f"a package that reads the format {READER[1]}", "which is not installed")


def tiny_model(model_class: str, given: Mapping[str, Any]) -> TinyModel:
    """Makes a model of a class of transformers and looks at what it saves. `given` are settings of its own.

    Raises `UnsupportedError` if transformers is not installed, `InputError` for a class that it does not
    have, and for sizes with which no tiny model can be made.
    """
    torch, transformers, safetensors = (_imported(name) for name in NEEDED)
    from zigai_core.testing.oracles.tiny_folder import small

    try:
        tomlkit.dumps(dict(given))
    except Exception as error:
        raise InputError(f"--config: cannot be stored in a file cases.toml: {error}") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = _class(transformers, model_class)
    try:
        sizes = small(found.config_class)
        settings = {**tiny_sizes(found.config_class(**sizes).to_dict(), sizes), **given}
        config = found.config_class(**{**sizes, **settings})
        with torch.device("meta"):
            count = sum(parameter.numel() for parameter in found(config).parameters())
    except Exception as error:
        raise _impossible(model_class, error) from error
    if count > LARGEST:
        raise InputError(
            f"{model_class} with tiny sizes has {count:,} parameters, more than {LARGEST:,}: make it smaller "
            f"with --config KEY=VALUE; it has the keys {_numbers(config.to_dict())}"
        )
    try:
        network = found(config).to(torch.float32)
        with tempfile.TemporaryDirectory() as folder:
            network.save_pretrained(folder)
            saved = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
            with safetensors.safe_open(Path(folder, "model.safetensors"), "np") as file:
                every = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise _impossible(model_class, error) from error
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in every.items():
        shapes.setdefault(pattern(name), shape)
    of_every_model = set(transformers.PretrainedConfig().to_dict())
    return TinyModel(
        model_class,
        transformers.__version__,
        str(saved["model_type"]),
        settings,
        shapes,
        guesses(shapes),
        sorted_keys(saved, of_every_model),
    )


def _class(transformers: Any, name: str) -> Any:
    found = getattr(transformers, name, None) if name.isidentifier() else None
    if not isinstance(found, type) or not issubclass(found, transformers.PreTrainedModel):
        what = "no class" if found is None else "no model"
        raise InputError(
            f"--from-transformers {quote(name)}: transformers {transformers.__version__} has {what} of this "
            "name; name one such as Phi3ForCausalLM"
        )
    if getattr(found, "config_class", None) is None:
        raise InputError(
            f"--from-transformers {name}: the class stands for many families; name the class of one, such as "
            "Phi3ForCausalLM"
        )
    return found


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(name, f"which cannot be imported: {error}") from error


def _missing(name: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"--from-transformers needs {name}, {what}. Install what it needs with: python -m pip install torch "
        f"transformers {provider(*READER)}"
    )


def _impossible(model_class: str, error: Exception) -> InputError:
    text = quote(" ".join(str(error).split()), 300)
    return InputError(
        f"transformers cannot make a {model_class} of these sizes: {type(error).__name__}: {text}; give "
        "others with --config KEY=VALUE"
    )


def _numbers(config: Mapping[str, Any]) -> str:
    numbers = {key: value for key, value in config.items() if type(value) is int and value > 16}
    return ", ".join(f"{key}={value}" for key, value in sorted(numbers.items())[:30])
