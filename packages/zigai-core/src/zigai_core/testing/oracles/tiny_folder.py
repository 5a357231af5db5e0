"""Tiny models of Hugging Face transformers with random weights, in folders as users have them.

Needs torch and transformers.
"""

from __future__ import annotations

import importlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.graph import Array
from zigai_core.testing.oracles.oracle import drawn

SMALL: Mapping[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    **dict.fromkeys(
        ("rms_norm_eps", "layer_norm_eps", "norm_eps", "norm_epsilon", "layer_norm_epsilon"), 1e-2
    ),
}
"""Sizes of a tiny model, in which every part matters; an epsilon of 0.01 is large enough to be noticed."""

Forward = Callable[[Any, Any], Mapping[str, Any]]
"""`(model, token ids [1, tokens]) -> torch tensors [tokens, width] by the name of the graph's output`."""


@dataclass(frozen=True)
class TinyFolder:
    """The folder of a model whose parameters are drawn, each by its name and `seed`, and a text.

    `forward` and `save`: see `zigai_core.testing.oracles.record.record`.
    """

    path: Path
    model_class: str
    text: Sequence[int]
    seed: int = 0
    forward: Forward | None = None
    save: Callable[[Path], None] | None = None

    @classmethod
    def written(cls, path: Path, model_class: str, config: Any, **settings: Any) -> TinyFolder:
        """Writes a model with this configuration of transformers, and returns its folder."""
        tiny = cls(path, model_class, **settings)
        folder_model(model_class, config, tiny.seed).save_pretrained(path)
        if tiny.save is not None:
            tiny.save(path)
        return tiny

    def like(self, path: Path, config: Mapping[str, Any], largest: int) -> TinyFolder | None:
        """Writes the model of another config.json, with weights drawn in the same way.

        Returns None for a model of more than `largest` elements.
        """
        parsed = self.config_of(config)
        with torch().device("meta"):
            sizes = [math.prod(each.shape) for each in class_named(self.model_class)(parsed).parameters()]
        if sum(sizes) > largest:
            return None
        settings = {"text": self.text, "seed": self.seed, "forward": self.forward, "save": self.save}
        self.written(path, self.model_class, self.config_of(config), **settings)
        (path / "config.json").write_text(json.dumps(dict(config), indent=2), encoding="utf-8")
        return replace(self, path=path)

    def config(self) -> dict[str, Any]:
        """Returns the content of config.json."""
        found: dict[str, Any] = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        return found

    def config_of(self, config: Mapping[str, Any]) -> Any:
        """Returns what transformers makes of the content of a config.json."""
        return class_named(self.model_class).config_class.from_dict(dict(config))

    @cached_property
    def network(self) -> Any:
        """The model as others read it, in float32: from_pretrained sets what is not a weight."""
        found = class_named(self.model_class)
        return found.from_pretrained(self.path, dtype=torch().float32, attn_implementation="eager").eval()

    def outputs(self) -> dict[str, Array]:
        """Returns what transformers computes of the text, float32 `[tokens, width]` by the output's name."""
        with torch().no_grad():
            found = (self.forward or _outputs)(self.network, torch().tensor([[*self.text]]))
        return {name: tensor.detach().float().numpy() for name, tensor in found.items()}


def _outputs(network: Any, ids: Any) -> Mapping[str, Any]:
    result = network(ids)
    if getattr(result, "logits", None) is None:
        return {"hidden": result.last_hidden_state[0]}
    return {"logits": result.logits[0], "hidden": network.base_model(ids).last_hidden_state[0]}


def folder_model(model_class: str, config: Any, seed: int = 0) -> Any:
    """Returns a model of transformers whose parameters are `drawn`, each by its name and `seed`.

    `config`: its configuration, or the settings of it.
    """
    found = class_named(model_class)
    if isinstance(config, Mapping):
        config = found.config_class(**config)
    network = found(config).to(torch().float32).eval()
    with torch().no_grad():
        for name, parameter in sorted(network.named_parameters()):
            random = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode()))
            parameter.copy_(torch().from_numpy(drawn(parameter.numpy(), random)))
    return network


def class_named(model_class: str) -> Any:
    """Returns a class of transformers. Raises `UnsupportedError` if there is none of this name."""
    found = getattr(transformers(), model_class, None)
    if found is None:
        raise UnsupportedError(f"transformers {transformers().__version__} has no class {model_class}")
    return found


def small(config_class: Any) -> dict[str, Any]:
    """Returns those of `SMALL` that a class of configurations has.

    Others would be stored in config.json, though nothing reads them.
    """
    default = config_class()
    return {key: value for key, value in SMALL.items() if hasattr(default, key)}


def quieten() -> None:
    """Turns off warnings and progress bars of transformers, which a tiny model has many of."""
    transformers().logging.set_verbosity_error()
    transformers().logging.disable_progress_bar()


def torch() -> Any:
    """Returns the module torch. Raises `UnsupportedError` if it is not installed."""
    return _optional("torch")


def transformers() -> Any:
    """Returns the module transformers. Raises `UnsupportedError` if it is not installed."""
    return _optional("transformers")


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(
            "to record an oracle install torch and transformers; checking one needs neither: "
            "pip install torch transformers zigai-safetensors"
        ) from error
