"""`zig-ai compare`: files, backends and stored values, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runner import zig_ai
from toy_plugin import ToyFormat

from zigai_cli.measure.comparison import Comparison, Difference
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Conventions, Hyperparameters, ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend, NumpyProgram, NumpyStep
from zigai_core.testing.architecture.pairing import with_adjacent_pairs
from zigai_core.testing.toys import toy_decoder


class Turned(NumpyBackend):
    """The reference, but two elements of a value are exchanged."""

    def compile(self, *arguments: Any, **options: Any) -> NumpyProgram:
        program = super().compile(*arguments, **options)
        for operation in program.graph:
            if operation.output.name == "blk.1.attn_k_rope":
                evaluate = operation.evaluate

                def turned(step: NumpyStep, evaluate: Any = evaluate) -> Any:
                    rows = evaluate(step).copy()
                    rows[:, [0, 1]] = rows[:, [1, 0]]
                    return rows

                object.__setattr__(operation, "evaluate", turned)
        return program


class Shifted(NumpyBackend):
    """The reference, but it adds something to one value."""

    def compile(self, *arguments: Any, **options: Any) -> NumpyProgram:
        program = super().compile(*arguments, **options)
        for operation in program.graph:
            if operation.output.name == "blk.0.ffn_norm":
                evaluate = operation.evaluate

                def shifted(step: NumpyStep, evaluate: Any = evaluate) -> Any:
                    return evaluate(step) + np.float32(0.5)

                object.__setattr__(operation, "evaluate", shifted)
        return program


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> None:
    monkeypatch.setitem(plugins.backends._given, "numpy", NumpyBackend)
    monkeypatch.setitem(plugins.backends._given, "shifted", Shifted)
    monkeypatch.setitem(plugins.backends._given, "turned", Turned)


def compare(*arguments: object) -> Any:
    return zig_ai("compare", *arguments, "--backend", "numpy")


def test_equal_files_agree(model: Path, make_model: Callable[..., Path]) -> None:
    result = compare(model, make_model("twin.toy", name="twin"))
    assert result.exit_code == 0
    assert result.stdout.startswith("all ")
    assert "KL(A, B) mean 0" in result.stdout
    assert "the same most likely token 100.0%" in result.stdout


def test_the_first_value_that_differs_is_named(model: Path) -> None:
    answer = json.loads(compare(model, "--backend-b", "shifted", "--json").stdout)
    assert answer["first_beyond"] == "blk.0.ffn_norm"
    before = [row for row in answer["values"] if row["name"].startswith("blk.0.att")]
    assert before
    assert all(row["max"] == 0 for row in before)
    assert next(row for row in answer["values"] if row["name"] == "blk.0.ffn_norm")["max"] == pytest.approx(
        0.5
    )
    assert answer["logits"]["kl_mean"] > 0
    shown = compare(model, "--backend-b", "shifted", "--all").stdout
    assert "is blk.0.ffn_norm: by" in shown
    assert "token_embd" in shown


@pytest.fixture
def either_pairing(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The toy format stores files named `adjacent…` as llama.cpp's converter does, others as transformers."""
    shape: dict[str, Any] = {"bias": True}

    class Stored(ToyFormat):
        def read(self, path: Path) -> ModelDescriptor:
            options = {key: value for key, value in shape.items() if key != "rotated"}
            model = replace(
                toy_decoder("toy", layers=2, vocabulary=300, **options),
                tokenizer=super().read(path).tokenizer,
                conventions=Conventions(rope_pairing="half"),
            )
            if "rotated" in shape:  # elements of a head of 16, fewer than all
                values = dict(model.hyperparameters.items()) | {"rope.dimension_count": shape["rotated"]}
                model = replace(model, hyperparameters=Hyperparameters(values))
            if path.name.startswith("adjacent"):
                model = with_adjacent_pairs(model, decode(model, context=64))
            return model

    def decode(model: ModelDescriptor, *, context: int) -> Graph:
        return decoder(model, context=context, qk_norm=shape.get("qk_norm", False))

    monkeypatch.setitem(plugins.formats._given, "toy", Stored)
    monkeypatch.setitem(plugins.architectures._given, "toy", decode)
    return shape


@pytest.mark.parametrize(
    "shape", [{"bias": True}, {"qk_norm": True}, {"fused": True}, {"head_dim": 24}, {"rotated": 8}]
)
@pytest.mark.parametrize("names", [("half", "adjacent"), ("adjacent", "half")])
def test_files_with_other_pairs_of_rope_agree(
    make_model: Callable[..., Path],
    either_pairing: dict[str, Any],
    shape: dict[str, Any],
    names: tuple[str, str],
) -> None:
    either_pairing.clear()
    either_pairing.update(shape)
    a, b = (make_model(f"{name}.toy") for name in names)
    answer = json.loads(compare(a, b, "--json", "--tolerance", "1e-5").stdout)
    assert answer["first_beyond"] is None
    source = "attn_qkv" if "fused" in shape else "attn_q"
    assert {f"blk.{layer}.{part}" for layer in (0, 1) for part in ("attn_q_rope", "attn_k_rope", source)} <= {
        *answer["reordered"]
    }
    assert not {"token_embd", "blk.0.attn_v", "blk.0.attention", "logits"} & {*answer["reordered"]}
    shown = compare(a, b)
    assert "the pairs of RoPE are stored in another order in B: " in shown.stderr
    assert shown.stdout.startswith("all ")
    twin = compare(a, make_model(f"{names[0]} twin.toy"))
    assert "RoPE" not in twin.stderr


def test_a_fault_in_what_is_rotated_is_found_in_another_order_too(
    make_model: Callable[..., Path], either_pairing: dict[str, Any]
) -> None:
    answer = json.loads(
        compare(make_model("half.toy"), make_model("adjacent.toy"), "--backend-b", "turned", "--json").stdout
    )
    assert answer["first_beyond"] == "blk.1.attn_k_rope"


def test_values_can_be_stored_and_compared_with(model: Path, tmp_path: Path) -> None:
    oracle = tmp_path / "oracle.npz"
    result = compare(model, "--write", oracle, "--prompt", "Hello there", "--values", "blk.0.*")
    assert "values of 12 tokens" in result.stderr
    answer = json.loads(compare(model, oracle, "--json").stdout)
    assert answer["first_beyond"] is None
    assert answer["logits"] is None
    assert {row["name"].split(".")[0] for row in answer["values"]} == {"blk"}
    answer = json.loads(zig_ai("compare", model, oracle, "--backend", "shifted", "--json").stdout)
    assert answer["first_beyond"] == "blk.0.ffn_norm"
    assert [path.name for path in tmp_path.glob("*oracle*")] == ["oracle.npz"]


def test_an_oracle_may_name_an_output(model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", tokens=[5, 6], hidden=np.zeros((2, 64), np.float32), fingerprint="x")
    answer = json.loads(compare(model, tmp_path / "o.npz", "--json").stdout)
    assert [row["name"] for row in answer["values"]] == ["output_norm"]
    assert answer["values"][0]["relative"] == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"tokens": [5, 6]}, "it has no value"),
        ({"logits": np.zeros((2, 300))}, "no list of token ids named tokens"),
        ({"tokens": [5, 6], "other": np.zeros((2, 300))}, "computes no value named other"),
        ({"tokens": [5, 6], "logits": np.zeros((2, 7))}, "the value logits is 7 wide, but 300 in the model"),
        ({"tokens": [5, 6], "logits": np.zeros((3, 300))}, "has 3 rows for 2 tokens"),
        ({"tokens": [5, 300], "logits": np.zeros((2, 300))}, "token 300 is not one of toy model"),
    ],
)
def test_a_wrong_oracle_is_an_error(
    model: Path, tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "o.npz", **arrays)
    result = compare(model, tmp_path / "o.npz")
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_file_that_is_no_archive_is_an_error(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.zeros(3))
    (tmp_path / "o.npy").rename(tmp_path / "o.npz")
    result = compare(model, tmp_path / "o.npz")
    assert result.exit_code == 1
    assert "is not a readable .npz file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to compare A with"),
        (["--write", "x.npy"], "ends in .npz"),
        (["--write", "x.npz", "--json"], "--write compares nothing"),
        (["o.npz", "--tokens", "5"], "o.npz holds its own tokens"),
        (["--backend-b", "numpy", "--budget", "5"], "No such option"),
        (["--write", "no-such-folder/x.npz"], "there is no such folder"),
        (["--backend-b", "numpy", "--prompt", "a", "--file", "b"], "given twice"),
        (["--backend-b", "numpy", "--plot", "--json"], "--plot-file together with --json"),
    ],
)
def test_wrong_usage(model: Path, arguments: list[str], message: str) -> None:
    result = compare(model, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_different_models_are_refused(model: Path, make_model: Callable[..., Path], plugins: Plugins) -> None:
    plugins.architectures._given["other"] = plugins.architectures.get("toy")
    result = compare(model, make_model("other.toy", architecture="other"))
    assert result.exit_code == 1
    assert "the files hold different models: A is toy, B is other" in result.stderr


@pytest.mark.parametrize("longer", ["a", "b"])
@pytest.mark.parametrize(
    ("kind", "changed", "error"),
    [
        (5, "", None),
        (1, "", "different vocabularies: A has {} tokens, B {}"),
        (5, "other", "different vocabularies: token 290 is"),
    ],
)
def test_only_unused_tokens_may_follow_those_of_the_other_vocabulary(
    make_model: Callable[..., Path],
    plugins: Plugins,
    monkeypatch: pytest.MonkeyPatch,
    longer: str,
    kind: int,
    changed: str,
    error: str | None,
) -> None:
    class Padded(ToyFormat):
        def read(self, path: Path) -> ModelDescriptor:
            model = super().read(path)
            spec = model.tokenizer
            tokens = list(spec.tokens)
            types = np.ones(300, np.int32) if spec.types is None else spec.types.copy()
            types[296:] = kind
            if path.stem == longer:
                tokens[290] = changed or tokens[290]
                return replace(model, tokenizer=replace(spec, tokens=tokens, types=types))
            return replace(model, tokenizer=replace(spec, tokens=tokens[:296], types=types[:296]))

    monkeypatch.setitem(plugins.formats._given, "toy", Padded)
    result = compare(make_model("a.toy"), make_model("b.toy"))
    if error is None:
        assert result.exit_code == 0
        assert result.stdout.startswith("all ")
    else:
        assert result.exit_code == 1
        assert error.format(*((300, 296) if longer == "a" else (296, 300))) in result.stderr


def test_a_plot_is_drawn_in_the_terminal_and_into_a_file(model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "c.svg"
    result = compare(model, "--backend-b", "shifted", "--plot", "--plot-file", picture)
    assert "relative difference by value" in result.stdout
    assert "KL of the next token, nats by token" in result.stdout
    assert picture.read_text().startswith("<svg")


def test_nan_on_one_side_is_a_difference_and_on_both_is_none() -> None:
    both = Difference("x", 2)
    both.add(np.array([[np.nan, np.inf]]), np.array([[np.nan, np.inf]]))
    assert not both.beyond(0.0)
    one = Difference("x", 2)
    one.add(np.array([[1.0, 1.0]]), np.array([[np.nan, 1.0]]))
    assert one.beyond(1e9)


def test_the_two_sides_must_have_the_same_steps() -> None:
    step = {"x": np.zeros((1, 2), np.float32)}
    with pytest.raises(ValueError, match="shorter"):
        list(Comparison([1, 2], {"x": 2}, [step, step], [step], logits=None))
