"""Tiny models of Hugging Face transformers with random weights, in folders as users have them.

Needs torch and transformers.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError, quote
from zigai_core.contracts.graph import Array
from zigai_core.testing.oracles.foreign import foreign
from zigai_core.testing.oracles.oracle import drawn
from zigai_core.testing.oracles.stored import stored_weights

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

LARGEST = 1 << 24
"""Elements of all parameters up to which a model is made: without `hidden_size` no model is tiny."""

LAYERS = 256
"""Layers up to which the elements of a model are counted."""

Forward = Callable[..., Mapping[str, Any]]
"""`(model, token ids [1, tokens]) -> torch tensors [tokens, width] by the name of the graph's output`."""


@dataclass(frozen=True)
class TinyFolder:
    """The folder of a model whose parameters are drawn, each by its name and `seed`, and a text.

    `forward` and `save`: see `zigai_core.testing.oracles.record.record`.
    """

    path: Path
    model_class: str
    text: Sequence[int]
    types: Sequence[int] = ()
    """The type of each token; empty: all are 0."""
    seed: int = 0
    forward: Forward | None = None
    save: Callable[[Path], None] | None = None

    @classmethod
    def written(cls, path: Path, model_class: str, config: Any, **settings: Any) -> TinyFolder:
        """Writes a model with this configuration of transformers, and returns its folder."""
        tiny = cls(path, model_class, **settings)
        network = folder_model(model_class, config, tiny.seed)
        with foreign(f"{model_class}: saving the model with transformers"):
            network.save_pretrained(path)
        if tiny.save is not None:
            tiny.save(path)
        return tiny

    def like(self, path: Path, config: Mapping[str, Any], largest: int) -> TinyFolder | None:
        """Writes the model of another config.json, with weights drawn in the same way.

        Returns None for a model of more than `largest` elements.
        """
        if elements(self.model_class, self.config_of(config)) > largest:
            return None
        settings = {
            "text": self.text,
            "types": self.types,
            "seed": self.seed,
            "forward": self.forward,
            "save": self.save,
        }
        self.written(path, self.model_class, self.config_of(config), **settings)
        (path / "config.json").write_text(json.dumps(dict(config), indent=2), encoding="utf-8")
        return replace(self, path=path)

    def config(self) -> dict[str, Any]:
        """Returns the content of config.json."""
        found: dict[str, Any] = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        return found

    def config_of(self, config: Mapping[str, Any]) -> Any:
        """Returns what transformers makes of the content of a config.json."""
        with foreign(f"{self.model_class}: its configuration"):
            return class_named(self.model_class).config_class.from_dict(dict(config))

    @cached_property
    def network(self) -> Any:
        """The model as others read it, in float32: from_pretrained sets what is not a weight."""
        found = class_named(self.model_class)
        with foreign(f"{self.model_class}: reading {self.path} with transformers"):
            return found.from_pretrained(self.path, dtype=torch().float32, attn_implementation="eager").eval()

    def outputs(self) -> dict[str, Array]:
        """Returns what transformers computes of the text, float32 `[tokens, width]` by the output's name.

        Raises `ShapeError` for what is not such tensors, with as many rows as the text has tokens, all of
        finite elements.
        """
        who = f"{self.model_class}: the computation" if self.forward is None else "the function forward"
        network = self.network
        with torch().no_grad(), foreign(who):
            ids = torch().tensor([[*self.text]])
            types = {"token_type_ids": torch().tensor([[*self.types]])} if self.types else {}
            found: Any = (self.forward or _outputs)(network, ids, **types)
        if not isinstance(found, Mapping) or not found:
            raise ShapeError(f"{who} returns {quote(found)}, but must return tensors by name, such as logits")
        return {name: self._rows(f"{who} returns {quote(name)}", name, each) for name, each in found.items()}

    def computes(self, length: int) -> bool:
        """Returns whether transformers computes a text of so many tokens, all the first one of the text."""
        try:
            with torch().no_grad():
                self.network(torch().tensor([[self.text[0]] * length]))
        except (IndexError, RuntimeError):
            return False
        return True

    def _rows(self, what: str, name: object, tensor: Any) -> Array:
        if not isinstance(name, str) or not hasattr(tensor, "detach"):
            raise ShapeError(f"{what} as {quote(tensor)}, but must return tensors by name, such as logits")
        array: Array = tensor.detach().float().numpy()
        if array.ndim != 2 or len(array) != len(self.text):
            raise ShapeError(f"{what} of shape {array.shape}, but it must have {len(self.text)} rows")
        if not np.isfinite(array).all():
            raise ShapeError(f"{what} with elements that are not finite")
        return array


def _outputs(network: Any, ids: Any, **types: Any) -> Mapping[str, Any]:
    result = network(ids, **types)
    if getattr(result, "logits", None) is None:
        return {"hidden": result.last_hidden_state[0]}
    if result.logits.ndim == 2:  # of a head that classifies whole texts
        return {"scores": result.logits.repeat(ids.shape[1], 1)}
    return {"logits": result.logits[0], "hidden": network.base_model(ids).last_hidden_state[0]}


def folder_model(model_class: str, config: Any, seed: int = 0) -> Any:
    """Returns a model of transformers whose stored weights are `drawn`, each by its name and `seed`.

    `config`: its configuration, or the settings of it.
    """
    found = class_named(model_class)
    if isinstance(config, Mapping):
        config = configuration(model_class, config)
    with foreign(f"{model_class}: making the model with this configuration"):
        torch().manual_seed(seed)  # vectors are drawn around initial values, which may be random
        network = found(config).to(torch().float32).eval()
    with torch().no_grad():
        for name, parameter in stored_weights(network):
            random = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode()))
            parameter.copy_(torch().from_numpy(drawn(parameter.numpy(), random)))
    return network


def elements(model_class: str, config: Any) -> int:
    """Returns the number of elements of all parameters of a model, without making them.

    `config`: its configuration. Raises `UnsupportedError` for more than `LAYERS` layers, which would take
    long, and for a configuration that transformers refuses.
    """
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > LAYERS:
        raise UnsupportedError(f"{model_class}: {layers} layers are too many; at most {LAYERS} are tried")
    with foreign(f"{model_class}: making the model with this configuration"), torch().device("meta"):
        return sum(math.prod(each.shape) for each in class_named(model_class)(config).parameters())


def class_named(model_class: str) -> Any:
    """Returns a class of models of transformers. Raises `UnsupportedError` if there is none of this name."""
    with foreign(f"{model_class}: importing it from transformers"):
        found = getattr(transformers(), model_class, None)
    if found is None:
        raise UnsupportedError(f"transformers {transformers().__version__} has no class {model_class}")
    if getattr(found, "config_class", None) is None or not hasattr(found, "from_pretrained"):
        raise UnsupportedError(
            f"{model_class} of transformers is no class of a model, as LlamaForCausalLM is"
        )
    return found


def configuration(model_class: str, config: Mapping[str, Any]) -> Any:
    """Returns the configuration of a class of models with these settings.

    Raises `FormatError` for a setting that the class does not know, which it would ignore, and
    `UnsupportedError` for values that it refuses.
    """
    made = class_named(model_class).config_class
    with foreign(f"{model_class}: its configuration"):
        known = {*made().to_dict(), *getattr(made, "attribute_map", {}), *inspect.signature(made).parameters}
        for key in sorted({*config} - known):
            if not _read_somewhere(key, model_class):
                raise FormatError(
                    f"{model_class}: config has the key {quote(key)}, which {made.__name__} does not know"
                )
        return made(**config)


def _read_somewhere(key: str, model_class: str) -> bool:
    """True if the code of the model, or of configurations in general, names a key of the configuration.

    Some keys are no fields: `rope_theta` becomes an entry of `rope_parameters`.
    """
    found = class_named(model_class)
    modules = {
        sys.modules[base.__module__] for each in (found, found.config_class) for base in each.__mro__[:-1]
    }
    modules |= {sys.modules[name] for name in ("transformers.modeling_rope_utils",) if name in sys.modules}
    return any(f'"{key}"' in source or f".{key}" in source for source in map(_source, modules))


def _source(module: ModuleType) -> str:
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        return ""


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
