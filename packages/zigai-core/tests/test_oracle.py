"""Oracles are stored small and exactly, and what is not an oracle is refused by name."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.ops.blocks import decoder
from zigai_core.testing.oracles import first_difference
from zigai_core.testing.oracles.oracle import Oracle, drawn, float_tensor, text_of
from zigai_core.testing.oracles.record import cases, record, unlike

ORACLES = Path(__file__).parent / "data" / "oracles"
PATH = ORACLES / "window.npz"


def test_an_oracle_is_stored_and_read_exactly(tmp_path: Path) -> None:
    oracle = Oracle.load(PATH)
    odd = np.array([0.1, -np.pi, 1e-20], np.float32)
    model = replace(oracle.model, tensors={**oracle.model.tensors, "odd": float_tensor("odd", odd)})
    oracle = replace(oracle, model=model)
    oracle.save(tmp_path / "one.npz")
    again = Oracle.load(tmp_path / "one.npz")
    for name, tensor in oracle.model.tensors.items():
        np.testing.assert_array_equal(again.model.tensors[name].to_float32(), tensor.to_float32())
    assert unlike(oracle, again) == 0
    assert again.model.architecture == "llama"
    assert again.model.conventions == oracle.model.conventions
    assert (again.tokens, again.rows, again.source) == (oracle.tokens, oracle.rows, oracle.source)
    assert again.settings == {
        "model_class": "MistralForCausalLM",
        "config": {"sliding_window": 7},
        "tokens": 40,
        "seed": 0,
    }
    again.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_weights_on_a_grid_take_a_byte_each() -> None:
    with np.load(PATH) as stored:
        kinds = {name: stored[name].dtype for name in stored.files if name.startswith("tensor ")}
    assert set(kinds.values()) == {np.dtype(np.int8)}
    assert PATH.stat().st_size < 60_000


def test_drawn_weights_have_neither_zero_biases_nor_norms_of_one() -> None:
    random = np.random.RandomState(0)
    vector = drawn(np.ones(64, np.float32), random)
    assert 0.5 <= vector.min() < 0.7 < 1.3 < vector.max() <= 1.5
    assert (vector != 1).mean() > 0.9
    matrix = drawn(np.zeros((48, 32), np.float32), random)
    assert abs(matrix.std() * 32**0.5 - 1.5) < 0.1
    assert not np.signbit(matrix[matrix == 0]).any()


def test_a_text_repeats_a_part_of_itself() -> None:
    tokens = text_of(64, 40, seed=3)
    assert len(tokens) == 40
    assert tokens[-13:] == tokens[1:14]
    assert {type(token) for token in tokens} == {int}


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"GGUF" * 9, json.dumps({"version": 2}).encode()], ids=repr
)
def test_a_file_that_is_no_oracle_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"odd\.npz: it is not an oracle"):
        Oracle.load(path)


def test_arrays_that_are_no_oracle_and_later_layouts_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match="it is not an oracle: KeyError"):
        Oracle.load(tmp_path / "odd.npz")
    np.savez(tmp_path / "new.npz", about=np.array(json.dumps({"version": 3})))
    with pytest.raises(FormatError, match="its layout is version 3"):
        Oracle.load(tmp_path / "new.npz")


def test_outputs_that_do_not_fit_the_text_are_refused() -> None:
    oracle = Oracle.load(PATH)
    with pytest.raises(ShapeError, match="output logits has shape"):
        replace(oracle, outputs={"logits": oracle.outputs["logits"][:-1]})
    with pytest.raises(ShapeError, match="not finite"):
        replace(oracle, outputs={"logits": oracle.outputs["logits"] * np.float32(np.nan)})
    with pytest.raises(ShapeError, match="at least one output"):
        replace(oracle, outputs={})
    with pytest.raises(ShapeError, match=r"rows \(0, 40\)"):
        replace(oracle, rows=(0, 40))


def test_the_first_value_that_differs_is_named() -> None:
    oracle = Oracle.load(PATH)
    graph = decoder(oracle.model, context=64, window=7)
    assert "values that both name agree: the difference is after output" in first_difference(oracle, graph)
    values = {**oracle.values, "blk.1.attn_k": oracle.values["blk.1.attn_k"] + 1}
    found = first_difference(replace(oracle, values=values), graph)
    assert found.startswith("the first value that differs is blk.1.attn_k, by up to 1 of ")
    assert "blk.1.attn_q, before it, agrees" in found
    wide = {**oracle.values, "blk.0.attn_norm": np.zeros((2, 3), np.float32)}
    assert "its width is 32, not 3" in first_difference(replace(oracle, values=wide), graph)
    assert "none of this name" in first_difference(replace(oracle, values={}), graph)


def test_cases_are_read_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    assert [*cases(ORACLES)] == ["head-norms", "window", "experts"]
    path = tmp_path / "cases.toml"
    for text, message in (
        ("[a]\nclass = 'X'\nlayers = 3\n", "'a' has the key 'layers'"),
        ("[a]\nconfig = {}\n", "has no key class"),
        ("[a\n", "cases.toml"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=message):
            cases(tmp_path)


def test_without_transformers_recording_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    with pytest.raises(UnsupportedError, match="pip install torch transformers"):
        record("x", "LlamaForCausalLM", {})
