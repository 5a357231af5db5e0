"""Tensors of GGUF that are parts of one of a folder, or its elements in another order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, PluginError
from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_safetensors import SafetensorsFormat
from zigai_safetensors.tensor_parts import with_sizes

Load = Callable[..., ModelDescriptor]
ROWS = np.arange(48, dtype="<f4").reshape(8, 6)
EXPERTS = np.arange(120, dtype="<f2").reshape(3, 4, 10)


@pytest.fixture
def load(folder: Any, make: Any, family: HuggingFaceNames, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Read a folder with one more tensor, of which the family takes these parts."""

    def read(stored: Any, *parts: TensorPart) -> ModelDescriptor:
        names = dataclasses.replace(family, parts={"model.layers.{}.odd": parts})
        plugins = Plugins(huggingface={"toy": names})
        monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: plugins))
        path: Path = folder({**make.tensors, "model.layers.1.odd": stored})
        return SafetensorsFormat().read(path)

    return read


def check(model: ModelDescriptor, name: str, expected: Any, dtype: str) -> None:
    tensor = model.tensors[name]
    assert (tensor.shape, tensor.dtype.name) == (expected.shape, dtype)
    np.testing.assert_array_equal(tensor.to_float32(), expected)
    flat = expected.reshape(-1, expected.shape[-1])
    for start, stop in ((0, 1), (1, len(flat)), (len(flat) // 2, len(flat) // 2 + 1)):
        found = tensor.dtype.to_float32(tensor.copy_rows(start, stop), (stop - start, flat.shape[-1]))
        np.testing.assert_array_equal(found, flat[start:stop])


def test_a_fused_tensor_gives_its_rows_in_parts(load: Load) -> None:
    model = load(
        ROWS,
        TensorPart("blk.{}.first.weight", lambda a: a[:3]),
        TensorPart("blk.{}.odd.weight", lambda a: a[1::2]),
        TensorPart("blk.{}.pairs.weight", lambda a: a.reshape(4, 2, -1).swapaxes(0, 1).reshape(8, -1)),
    )
    check(model, "blk.1.first.weight", ROWS[:3], "F32")
    check(model, "blk.1.odd.weight", ROWS[[1, 3, 5, 7]], "F32")
    check(model, "blk.1.pairs.weight", ROWS[[0, 2, 4, 6, 1, 3, 5, 7]], "F32")
    assert "model.layers.1.odd" not in model.tensors
    identities = {model.tensors[f"blk.1.{part}.weight"].identity for part in ("first", "odd", "pairs")}
    assert len(identities) == 3


def test_transposed_experts_keep_their_type(load: Load) -> None:
    model = load(
        EXPERTS,
        TensorPart("blk.{}.gate.weight", lambda a: a[:, ::2].T, each=True),
        TensorPart("blk.{}.up.weight", lambda a: a[:, :, 1::2].swapaxes(1, 2)),
    )
    check(model, "blk.1.gate.weight", EXPERTS[:, :, ::2].swapaxes(1, 2).astype("<f4"), "F16")
    check(model, "blk.1.up.weight", EXPERTS[:, :, 1::2].swapaxes(1, 2).astype("<f4"), "F16")


def test_parts_for_a_type_replace_the_others(load: Load) -> None:
    parts = [
        TensorPart("blk.{}.up.weight", lambda a: a.T),
        TensorPart("blk.{}.up.weight", lambda a: a[1::2], stored="F16"),
        TensorPart("blk.{}.more.weight", lambda a: a[:1], stored="F16"),
        TensorPart("blk.{}.up.weight", lambda a: a, stored="MXFP4"),
    ]
    model = load(ROWS, *parts)
    check(model, "blk.1.up.weight", ROWS.T, "F32")
    assert "blk.1.more.weight" not in model.tensors
    model = load(ROWS.astype("<f2"), *parts)
    check(model, "blk.1.up.weight", ROWS[1::2], "F16")
    check(model, "blk.1.more.weight", ROWS[:1], "F16")


def test_rows_in_any_order_and_number_are_gathered(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zigai_safetensors.tensor_parts._ROWS", 3)
    rows = np.arange(120, dtype="<f4").reshape(40, 3)
    for order in (slice(None, None, 2), slice(None, None, -1), slice(1, None, 7), [39, 0, 0, 5, 6, 8, 2, 38]):
        check(load(rows, TensorPart("blk.{}.x", lambda a, o=order: a[o])), "blk.1.x", rows[order], "F32")


def test_a_computed_part_is_float32(load: Load) -> None:
    stored = np.linspace(-1, 1, 12, dtype="<f4").reshape(4, 1, 3)
    model = load(
        stored.astype("<f2"),
        TensorPart("blk.{}.ssm_a", lambda a: -np.exp(a.squeeze(1)), computes=True),
    )
    check(model, "blk.1.ssm_a", -np.exp(stored.astype("<f2").astype("<f4")[:, 0]), "F32")


def test_a_vector_and_columns_are_taken_too(load: Load) -> None:
    model = load(ROWS[0], TensorPart("blk.{}.tail", lambda a: a[2:]))
    check(model, "blk.1.tail", ROWS[0, 2:], "F32")
    model = load(ROWS, TensorPart("blk.{}.columns", lambda a: a[:, 1:3]))
    check(model, "blk.1.columns", ROWS[:, 1:3], "F32")


def test_a_part_is_made_by_sizes_of_the_configuration(load: Load) -> None:
    part = TensorPart(
        "blk.{}.x",
        lambda a, heads, width: a.reshape(heads, width, -1)[:, 0],
        sizes=("num_hidden_layers", "vocab_size"),  # 2 and 8
    )
    rows = np.arange(64, dtype="<f4").reshape(16, 4)
    check(load(rows, part), "blk.1.x", rows[[0, 8]], "F32")
    with pytest.raises(FormatError, match=r"its shape \(5, 4\) does not fit"):
        load(rows[:5], part)


@pytest.mark.parametrize("value", [None, 0, -1, True, 1.0, "4", 1 << 31, [2]])
def test_a_size_that_is_none_is_refused(value: Any) -> None:
    part = TensorPart("blk.{}.x", lambda a, heads: a, sizes=("heads",))
    with pytest.raises(FormatError, match=r"config\.json: heads is .*, but must be a whole number"):
        with_sizes(part, {} if value is None else {"heads": value}, Path("folder"))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda a: a.reshape(5, -1),
            FormatError,
            r"tensor 'model\.layers\.1\.odd': its shape \(8, 6\) does not",
        ),
        (lambda a: a[9:], FormatError, r"its shape \(8, 6\) holds no blk\.\{\}\.x"),
        (lambda a: a.nothing, PluginError, r"fails to take blk\.\{\}\.x from it \(AttributeError"),
    ],
)
def test_a_tensor_that_has_no_such_part_is_named(
    load: Load, change: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(ROWS, TensorPart("blk.{}.x", change))


@pytest.mark.parametrize("stored", [ROWS[0], np.float32(1)], ids=["vector", "number"])
@pytest.mark.parametrize("computes", [False, True])
def test_a_tensor_that_is_no_stack_has_no_part_of_each_entry(load: Load, stored: Any, computes: bool) -> None:
    with pytest.raises(
        FormatError, match=r"odd': its shape \(.*\) is none of a stack, as blk\.\{\}\.x needs"
    ):
        load(stored, TensorPart("blk.{}.x", lambda a: a[: len(a) // 2], each=True, computes=computes))


def test_a_part_may_not_have_the_name_of_another_tensor(load: Load) -> None:
    with pytest.raises(FormatError, match=r"holds 'blk\.1\.ffn_up\.weight' under two names"):
        load(ROWS, TensorPart("blk.{}.ffn_up.weight", lambda a: a[:2]))
