"""Records oracles from tiny, randomly drawn models of Hugging Face transformers, in float32.

    python -m zigai_core.testing.oracles FOLDER [NAME...]    records the cases of FOLDER/cases.toml
    python -m zigai_core.testing.oracles FOLDER --check      computes them again and compares

`cases.toml` has a table for each oracle: `class`, a class of transformers, and `config`, its configuration on
top of `SMALL`; `tokens`, `pair` and `seed` as for `record`. `forward`, `save` and `change` each name a script
in the folder, which defines the function of that name: the first two as for `record`; the third is given the
oracle and returns the one that is stored, such as with two matrices fused. `without` lists hyperparameters
that are not stored, since files may leave them out, too: their defaults are then compared.

Needs torch, transformers and a package that reads folders of Hugging Face (zigai-safetensors); checking a
graph against an oracle needs none of them. The model is saved as a folder and read again through the family's
`HuggingFaceNames`, so an oracle covers these names, too.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zigai_core.api.reading import read
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Hyperparameters
from zigai_core.contracts.errors import FormatError, UnsupportedError, ZigAIError, quote
from zigai_core.contracts.graph import Array
from zigai_core.contracts.huggingface import HuggingFaceNames
from zigai_core.testing.oracles.cases import cases
from zigai_core.testing.oracles.comparison import difference
from zigai_core.testing.oracles.config_variants import check_settings
from zigai_core.testing.oracles.names import (
    SAME,
    chosen,
    differing_names,
    names_used,
    pattern_of,
    tensors_used,
)
from zigai_core.testing.oracles.oracle import Oracle, float_tensor, text_of
from zigai_core.testing.oracles.tiny_folder import (
    LARGEST,
    Forward,
    TinyFolder,
    class_named,
    configuration,
    elements,
    quieten,
    small,
    torch,
    transformers,
)

LOG = logging.getLogger("zigai")

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of the command `zigai`."""


def record(
    name: str,
    model_class: str,
    config: Mapping[str, Any],
    *,
    tokens: int = 40,
    pair: int | None = None,
    seed: int = 0,
    forward: Forward | None = None,
    save: Callable[[Path], None] | None = None,
    without: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> Oracle:
    """Makes a model, computes a text of `tokens` random tokens with it, and returns both as an oracle.

    `model_class` is a class of transformers (`Qwen3ForCausalLM`), `config` its configuration, on top of
    `SMALL`. `forward` computes the outputs; by default they are the model's `logits`, if it has any, and the
    `last_hidden_state` of its base model as `hidden`, or of a class for classification of sequences the
    `scores`, once for each token. `pair`: the tokens from this one on are of type 1, those before of 0;
    `forward` is not given types. `save` adds files to the folder of the model, which
    transformers does not write. `without`: hyperparameters that are left out of the oracle. Make windows
    shorter than the text, and give every option that the architecture has a value that matters: what the
    model does not use, its oracle cannot check.

    Raises `UnsupportedError` if transformers is not installed, has no such class or fails; `FormatError` for
    a key of `config` that the class does not know, and one of `without` that the model does not have;
    `ShapeError` for outputs that are not such tensors.
    """
    parsed = configuration(model_class, {**small(class_named(model_class).config_class), **config})
    if elements(model_class, parsed) > LARGEST:
        raise UnsupportedError(
            f"{model_class}: with this configuration it has more than {LARGEST} elements; an oracle is tiny"
        )
    size = getattr(parsed.get_text_config(), "vocab_size", None)
    if type(size) is not int or size < 1:
        raise FormatError(f"{model_class}: vocab_size is {quote(size)}, but must be a whole number above 0")
    text = text_of(size, tokens, seed)
    types = () if pair is None else (*[0] * pair, *[1] * (tokens - pair))
    settings = {"text": text, "types": types, "seed": seed, "forward": forward, "save": save}
    with tempfile.TemporaryDirectory() as folder:
        tiny = TinyFolder.written(Path(folder), model_class, parsed, **settings)
        names = chosen(tiny.network, plugins)
        descriptor = read(tiny.path, plugins=plugins)
        lacking = [key for key in without if key not in descriptor.hyperparameters]
        if lacking:
            raise FormatError(
                f"without has {quote(lacking[0])}, which is no hyperparameter of the model; it has "
                f"{', '.join(sorted(descriptor.hyperparameters))}"
            )
        # The tensors are copied, since their files are about to be removed.
        tensors = {
            name: float_tensor(name, tensor.to_float32().copy())
            for name, tensor in descriptor.tensors.items()
        }
        rows = (tokens // 2, tokens - 1)
        values: dict[str, Array] = {}
        hooks = _watch(tiny.network, _value_names(tiny.network, names), values, len(text), rows)
        outputs = tiny.outputs()
        for hook in hooks:
            hook.remove()
        if unchecked := check_settings(tiny, names, outputs, plugins):
            LOG.warning("%s: %s", name, unchecked)
        used = names_used(tiny.network, names, tiny.config())
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
        outputs,
        values,
        rows,
        f"transformers {transformers().__version__}, {model_class}",
        used,
        types,
        {
            "model_class": model_class,
            "config": dict(config),
            "tokens": tokens,
            "seed": seed,
            **({} if pair is None else {"pair": pair}),
        },
    )


def _value_names(network: Any, names: HuggingFaceNames) -> dict[str, str]:
    """The name of the value that the graph computes with a module's weight, by the module's name."""
    found: dict[str, str] = {}
    for theirs, ours in tensors_used(network, names).items():
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
    try:
        return _run(options.folder, options.names, check=options.check)
    except ZigAIError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the case at hand is not recorded", file=sys.stderr)
        return INTERRUPTED


def _run(folder: Path, names: Sequence[str], *, check: bool) -> int:
    """Records or compares the cases of these names, of none all."""
    found = cases(folder)
    unknown = [name for name in names if name not in found]
    if unknown:
        print(
            f"{folder / 'cases.toml'}: has no case {quote(unknown[0])}; it has {', '.join(found)}",
            file=sys.stderr,
        )
        return 2
    torch()  # so that what is not installed is said once
    quieten()
    failed = False
    for name in dict.fromkeys(names) or found:
        path = folder / f"{name}.npz"
        try:
            failed |= not _recorded(name, found[name], path, check=check)
        except ZigAIError as error:
            print(error if str(path) in str(error) else f"{path}: {error}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


def _recorded(name: str, settings: Mapping[str, Any], path: Path, *, check: bool) -> bool:
    """Stores a case, or says how it differs from the stored one; returns False if it does."""
    kept = Oracle.load(path) if check else None
    change = settings.get("change")
    made: Any = record(name, **{key: value for key, value in settings.items() if key != "change"})
    if change is not None:
        made = change(made)
        if not isinstance(made, Oracle):
            raise FormatError(f"the function change returns {quote(made)}, but must return an oracle")
    if kept is None:
        made.save(path)
        print(f"{path}: {made.source}, {path.stat().st_size} bytes")
        return True
    changed = ", ".join(changes(made, kept)[:5])
    worst = max(difference(made.outputs, kept.outputs), difference(made.values, kept.values))
    what = f"not the same: {changed}" if changed else f"largest difference {worst:.1e}"
    print(f"{path}: {made.source}: {what}")
    return not changed and worst <= SAME


def changes(one: Oracle, other: Oracle) -> list[str]:
    """Returns what is not the same in two oracles but for the numbers of their outputs and values."""
    found = [] if one.tokens == other.tokens else ["the text"]
    found += [] if one.types == other.types else ["the types of tokens"]
    found += [] if one.rows == other.rows else ["the rows of values"]
    for kind, outputs in (("output", (one.outputs, other.outputs)), ("value", (one.values, other.values))):
        found += [f"{kind} {name}, which only one has" for name in sorted({*outputs[0]} ^ {*outputs[1]})]
    tensors = one.model.tensors, other.model.tensors
    for name in sorted({*tensors[0], *tensors[1]}):
        if name not in tensors[0] or name not in tensors[1]:
            found.append(f"tensor {name}, which only one has")
        elif not np.array_equal(tensors[0][name].to_float32(), tensors[1][name].to_float32()):
            found.append(f"tensor {name}")
    values = [dict(each.model.hyperparameters.items()) for each in (one, other)]
    found += [key for key in sorted({*values[0], *values[1]}) if values[0].get(key) != values[1].get(key)]
    return found + differing_names(one.names, other.names)


def unlike(one: Oracle, other: Oracle) -> float:
    """Returns the largest difference of outputs; infinity for other weights, tokens or hyperparameters."""
    return float("inf") if changes(one, other) else difference(one.outputs, other.outputs)


if __name__ == "__main__":
    sys.exit(main())
