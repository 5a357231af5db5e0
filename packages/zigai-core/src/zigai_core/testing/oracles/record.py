"""Records oracles from tiny, randomly drawn models of Hugging Face transformers, in float32.

    python -m zigai_core.testing.oracles FOLDER [NAME...]    records the cases of FOLDER/cases.toml
    python -m zigai_core.testing.oracles FOLDER --check      computes them again and compares

`cases.toml` has a table for each oracle: `class`, a class of transformers, and `config`, its configuration on
top of `SMALL`; `tokens` and `seed` as for `record`. `forward`, `save` and `change` each name a script in the
folder, which defines the function of that name: the first two as for `record`; the third is given the oracle
and returns the one that is stored, such as with two matrices fused. `without` lists hyperparameters that are
not stored, since files may leave them out, too: their defaults are then compared.

Needs torch, transformers and a package that reads folders of Hugging Face (zigai-safetensors); checking a
graph against an oracle needs none of them. The model is saved as a folder and read again through the family's
`HuggingFaceNames`, so an oracle covers these names, too.
"""

from __future__ import annotations

import argparse
import importlib
import runpy
import sys
import tempfile
import tomllib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.api.reading import read
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import FormatError, UnsupportedError, quote
from zigai_core.contracts.graph import Array
from zigai_core.testing.oracles.comparison import difference
from zigai_core.testing.oracles.names import SAME, check_names, names_used, pattern_of
from zigai_core.testing.oracles.oracle import Oracle, drawn, float_tensor, text_of

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

KEYS = ("class", "config", "tokens", "seed", "forward", "save", "change", "without")
"""The keys of a case."""

Forward = Callable[[Any, Any], Mapping[str, Any]]
"""`(model, token ids [1, tokens]) -> torch tensors [tokens, width] by the name of the graph's output`."""


def record(
    name: str,
    model_class: str,
    config: Mapping[str, Any],
    *,
    tokens: int = 40,
    seed: int = 0,
    forward: Forward | None = None,
    save: Callable[[Path], None] | None = None,
    without: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> Oracle:
    """Makes a model, computes a text of `tokens` random tokens with it, and returns both as an oracle.

    `model_class` is a class of transformers (`Qwen3ForCausalLM`), `config` its configuration, on top of
    `SMALL`. `forward` computes the outputs; by default they are the model's `logits`, if it has any, and the
    `last_hidden_state` of its base model as `hidden`. `save` adds files to the folder of the model, which
    transformers does not write. `without`: hyperparameters that are left out of the oracle. Make windows
    shorter than the text, and give every option that the architecture has a value that matters: what the
    model does not use, its oracle cannot check.

    Raises `UnsupportedError` if transformers is not installed, or has no such class.
    """
    made = folder_model(model_class, {**small(class_named(model_class).config_class), **config}, seed)
    with tempfile.TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        if save is not None:
            save(Path(folder))
        descriptor = read(Path(folder), plugins=plugins)
        # Read again, as others would: from_pretrained sets what is not a weight.
        network = (
            type(made).from_pretrained(folder, dtype=_torch().float32, attn_implementation="eager").eval()
        )
        # The tensors are copied, since their files are about to be removed.
        tensors = {
            name: float_tensor(name, tensor.to_float32().copy())
            for name, tensor in descriptor.tensors.items()
        }
    text = text_of(int(network.config.get_text_config().vocab_size), tokens, seed)
    rows = (tokens // 2, tokens - 1)
    values: dict[str, Array] = {}
    hooks = _watch(network, _value_names(network, plugins), values, len(text), rows)
    with _torch().no_grad():
        outputs = (forward or _outputs)(network, _torch().tensor([text]))
    for hook in hooks:
        hook.remove()
    if forward is None:
        with _torch().no_grad():
            ids = _torch().tensor([text])
            check_names(network, lambda model: _outputs(model, ids), plugins)
    model = type(descriptor)(
        name=name,
        architecture=descriptor.architecture,
        hyperparameters=Hyperparameters(
            {key: value for key, value in descriptor.hyperparameters.items() if key not in without},
            prefix=descriptor.architecture,
        ),
        tensors=tensors,
        conventions=descriptor.conventions,
    )
    return Oracle(
        model,
        tuple(text),
        {name: tensor.detach().float().numpy() for name, tensor in outputs.items()},
        values,
        rows,
        f"transformers {_transformers().__version__}, {model_class}",
        names_used(network, plugins),
        {"model_class": model_class, "config": dict(config), "tokens": tokens, "seed": seed},
    )


def folder_model(model_class: str, config: Mapping[str, Any], seed: int = 0) -> Any:
    """Returns a model of transformers whose parameters are `drawn`, each by its name and `seed`."""
    torch, found = _torch(), class_named(model_class)
    network = found(found.config_class(**config)).to(torch.float32).eval()
    with torch.no_grad():
        for name, parameter in sorted(network.named_parameters()):
            random = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode()))
            parameter.copy_(torch.from_numpy(drawn(parameter.numpy(), random)))
    return network


def class_named(model_class: str) -> Any:
    """Returns a class of transformers. Raises `UnsupportedError` if there is none of this name."""
    found = getattr(_transformers(), model_class, None)
    if found is None:
        raise UnsupportedError(f"transformers {_transformers().__version__} has no class {model_class}")
    return found


def small(config_class: Any) -> dict[str, Any]:
    """Returns those of `SMALL` that a class of configurations has.

    Others would be stored in config.json, though nothing reads them.
    """
    default = config_class()
    return {key: value for key, value in SMALL.items() if hasattr(default, key)}


def _outputs(network: Any, ids: Any) -> Mapping[str, Any]:
    result = network(ids)
    if getattr(result, "logits", None) is None:
        return {"hidden": result.last_hidden_state[0]}
    return {"logits": result.logits[0], "hidden": network.base_model(ids).last_hidden_state[0]}


def _value_names(network: Any, plugins: Plugins | None) -> dict[str, str]:
    """The name of the value that the graph computes with a module's weight, by the module's name."""
    found: dict[str, str] = {}
    for theirs, ours in names_used(network, plugins)["tensors"].items():
        # Not embeddings: some modules scale what they look up, which is another value of the graph.
        if not theirs.endswith(".weight") or "[]" in theirs or "embd" in ours:
            continue
        for name, _ in network.named_modules():
            if match := pattern_of(theirs.removesuffix(".weight")).fullmatch(name):
                found[name] = ours.removesuffix(".weight").format(*match.groups())
    return found


def _watch(
    network: Any, names: Mapping[str, str], values: dict[str, Array], count: int, rows: Sequence[int]
) -> list[Any]:
    """Makes the modules of `names` store what they compute for some rows in `values`."""

    def keep(name: str, output: Any) -> None:
        if not hasattr(output, "detach"):
            return
        array = output.detach().float().numpy()
        if array.ndim == 4 and array.shape[2] == count != array.shape[1]:
            array = array.swapaxes(1, 2)  # heads before tokens
        if array.shape[:2] == (1, count) or (array.ndim == 2 and len(array) == count):
            values[name] = array.reshape(count, -1)[list(rows)].copy()

    return [
        module.register_forward_hook(lambda _module, _inputs, output, name=names[path]: keep(name, output))
        for path, module in network.named_modules()
        if path in names
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Records or compares the cases of a folder; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m zigai_core.testing.oracles",
        description="Record oracles with Hugging Face transformers.",
    )
    parser.add_argument("folder", type=Path, help="the folder with cases.toml")
    parser.add_argument("names", nargs="*", help="cases to record (all)")
    parser.add_argument("--check", action="store_true", help="compare with the stored oracles; write nothing")
    options = parser.parse_args(arguments)
    worst = 0.0
    for name, settings in cases(options.folder).items():
        if options.names and name not in options.names:
            continue
        path = options.folder / f"{name}.npz"
        change = settings.pop("change", None)
        made = record(name, **settings)
        made = made if change is None else change(made)
        if not options.check:
            made.save(path)
            print(f"{path}: {made.source}, {path.stat().st_size} bytes")
            continue
        kept = Oracle.load(path)
        found = unlike(made, kept)
        changed = ", ".join(changes(made, kept)[:5])
        what = f"not the same: {changed}" if changed else f"largest difference {found:.1e}"
        print(f"{path}: {made.source}: {what}")
        worst = max(worst, found)
    return 0 if worst <= SAME else 1


def cases(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the cases of a folder by name, each as arguments of `record`, and the function `change`.

    Raises `FormatError` for a file that is missing or has other keys.
    """
    path = folder / "cases.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: {error}") from error
    found: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        unknown = {*table} - {*KEYS}
        if unknown or "class" not in table:
            wrong = f"has the key {quote(min(unknown))}" if unknown else "has no key class"
            raise FormatError(f"{path}: {quote(name)} {wrong}: keys are {', '.join(KEYS)}")
        settings = {"model_class": table["class"], "config": table.get("config", {})}
        settings |= {key: table[key] for key in ("tokens", "seed", "without") if key in table}
        for key in ("forward", "save", "change"):
            if key in table:
                settings[key] = runpy.run_path(str(folder / table[key]))[key]
        found[name] = settings
    return found


def changes(one: Oracle, other: Oracle) -> list[str]:
    """Returns what is not the same in two oracles but for their outputs: tensors, hyperparameters, text."""
    found = [] if one.tokens == other.tokens else ["the text"]
    tensors = one.model.tensors, other.model.tensors
    for name in sorted({*tensors[0], *tensors[1]}):
        if name not in tensors[0] or name not in tensors[1]:
            found.append(f"tensor {name}, which only one has")
        elif not np.array_equal(tensors[0][name].to_float32(), tensors[1][name].to_float32()):
            found.append(f"tensor {name}")
    values = [dict(each.model.hyperparameters.items()) for each in (one, other)]
    found += [key for key in sorted({*values[0], *values[1]}) if values[0].get(key) != values[1].get(key)]
    return found


def unlike(one: Oracle, other: Oracle) -> float:
    """Returns the largest difference of outputs; infinity for other weights, tokens or hyperparameters."""
    return float("inf") if changes(one, other) else difference(one.outputs, other.outputs)


def _torch() -> Any:
    return _optional("torch")


def _transformers() -> Any:
    return _optional("transformers")


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(
            "to record an oracle install torch and transformers; checking one needs neither: "
            "pip install torch transformers zigai-safetensors"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
