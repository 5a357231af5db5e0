"""What a family says of its folders is kept with an oracle, and what has changed is named."""

from __future__ import annotations

import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.huggingface import HuggingFaceNames, TensorPart
from zigai_core.testing.oracles.names import changed_names, differing_names, excused_tensors, names_used
from zigai_core.testing.oracles.stored import stored_weights

NAMES = HuggingFaceNames(
    "tiny",
    {"layers.{}.up.weight": "blk.{}.ffn_up.weight", "absent.weight": "output.weight"},
    {"size": "embedding_length", "unknown": "block_count"},
    required={"act": ("silu", None), "layers": ([],)},
    parts={"layers.{}.log": [TensorPart("blk.{}.ssm_a", lambda a: -np.exp(a), computes=True)], "no": []},
    added={"*norm.weight": 1.0},
    computed={
        "scale": lambda value: {"attention.scale": value**-0.5},
        ("share", "width"): lambda share, width: {"rope.dimension_count": int(share * width)},
    },
    defaults={"size": 32, "width": 10},
    keys_without_effect={"dropout": "for training"},
    unsupported_tensors={"vision.*": "images"},
)
CHECKSUM = zlib.crc32((-np.exp(np.arange(6, dtype=np.float32) / 16)).astype(np.float16).tobytes())
CONFIG = {"scale": 4, "share": 0.67}


class Buffer:
    """A tensor of torch, as far as names need it."""

    def __init__(self, *shape: int, floats: bool = True) -> None:
        self.shape, self.floats = shape, floats

    def is_floating_point(self) -> bool:
        return self.floats


def network_of(config: Any, parameters: Any, buffers: Any = (), computed: Any = ()) -> Any:
    """A network of torch; its files hold `parameters` and `buffers`."""
    return SimpleNamespace(
        config=config,
        named_parameters=lambda: parameters,
        named_buffers=lambda: [*buffers, *computed],
        state_dict=lambda: dict([*parameters, *buffers]),
    )


def recorded() -> dict[str, Any]:
    config = SimpleNamespace(model_type="tiny_text", to_dict=lambda: {"size": 16, "scale": 4})
    parameters = [("layers.1.up.weight", np.zeros(3)), ("layers.0.log", np.zeros((2, 3)))]
    network = network_of(config, parameters)
    return names_used(network, NAMES, CONFIG)


HALVES = TensorPart("blk.{}.half", lambda a, heads: a.reshape(heads, -1)[:, :1], sizes=("heads",))


def test_buffers_of_floats_that_files_hold_are_weights_too() -> None:
    stored, count, turns = Buffer(4), Buffer(1, floats=False), Buffer(2)
    weight = np.zeros((2, 3))
    network = network_of(
        None, [("up.weight", weight)], [("bias", stored), ("count", count)], [("inv_freq", turns)]
    )
    assert stored_weights(network) == [("bias", stored), ("up.weight", weight)]


def test_sizes_that_parts_need_are_kept() -> None:
    names = replace(NAMES, parts={"layers.{}.log": [HALVES]}, defaults={"heads": 3})
    config = SimpleNamespace(model_type="tiny_text", to_dict=dict)
    network = network_of(config, [("layers.0.log", np.zeros((2, 3)))])
    found = names_used(network, names, {})
    checksum = zlib.crc32((np.array([0, 2, 4]) / 16).astype(np.float16).tobytes())
    assert found["parts"]["layers.{}.log"] == {
        "shape": [2, 3],
        "sizes": {"heads": 3},
        "blk.{}.half": f"[3, 1] {checksum:x}",
    }
    assert changed_names(found, names) == []
    for other in (replace(HALVES, change=lambda a, heads: a), replace(HALVES, sizes=("others",))):
        changed = changed_names(found, replace(names, parts={"layers.{}.log": [other]}))
        assert any(each.startswith("parts: layers.{}.log was ") for each in changed), changed


def test_what_belongs_to_the_model_is_kept_with_what_is_computed() -> None:
    found = recorded()
    assert found["tensors"] == {"layers.{}.up.weight": "blk.{}.ffn_up.weight"}
    assert found["keys"] == {"size": "embedding_length"}
    assert found["required"] == {"act": ["silu", None], "layers": [[]]}
    assert found["computed"] == {
        "scale": {"given": [4], "result": {"attention.scale": 0.5}},
        "share and width": {"given": [0.67, 10], "result": {"rope.dimension_count": 6}},
    }
    assert found["parts"] == {"layers.{}.log": {"shape": [2, 3], "blk.{}.ssm_a": f"[2, 3] {CHECKSUM:x}"}}
    assert changed_names(found, NAMES) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "other"}, "architecture: it was tiny and is other"),
        ({"tensors": {}}, "tensors: layers.{}.up.weight was blk.{}.ffn_up.weight and is None"),
        ({"keys": {"size": "block_count"}}, "keys: size was embedding_length and is block_count"),
        ({"defaults": {"size": 32}}, "defaults: width was 10 and is not there"),
        ({"added": {"*norm.weight": 2.0}}, "added: *norm.weight was 1.0 and is 2.0"),
        (
            {"required": {"act": ("silu",), "layers": ([],)}},
            "required: act was ['silu', None] and is ['silu']",
        ),
        ({"keys_without_effect": {}}, "without effect: dropout was said and is not there"),
        ({"unsupported_tensors": {"v.*": ""}}, "unsupported: v.* was not there and is said"),
        ({"parts": {}}, "parts: layers.{}.log was "),
        (
            {"parts": {"layers.{}.log": [TensorPart("blk.{}.ssm_a", np.exp, computes=True)]}},
            "parts: layers.{}.log was {'shape': [2, 3], 'blk.{}.ssm_a': '[2, 3] ",
        ),
        ({"computed": {"scale": NAMES.computed["scale"]}}, "computed: share and width was "),
        (
            {"computed": {**NAMES.computed, "scale": lambda value: {"attention.scale": value}}},
            "computed: scale was {'given': [4], 'result': {'attention.scale': 0.5}} and is {'given': [4], "
            "'result': {'attention.scale': 4}}",
        ),
        ({"computed": {**NAMES.computed, "more": lambda value: {}}}, "computed: more was not there and is "),
    ],
)
def test_what_a_family_says_otherwise_is_named(changed: dict[str, Any], message: str) -> None:
    found = changed_names(recorded(), replace(NAMES, **changed))
    assert any(each.startswith(message) for each in found), found


def test_two_oracles_names_are_compared() -> None:
    assert differing_names({}, {}) == []
    assert differing_names({"added": {}}, {}) == ["added: it was {} and is None"]


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("*.bias", "'*.bias' fits layers.0.up.bias"),
        ("layers.*", "'layers.*' fits layers.0.up.weight"),
        ("*.inv_freq", None),
    ],
)
def test_patterns_that_leave_out_what_matters_are_named(pattern: str, named: str | None) -> None:
    for field in ("tensors_without_effect", "unsupported_tensors"):
        found = excused_tensors(replace(NAMES, **{field: {pattern: "not needed"}}))
        assert found == ([named] if named else [])
