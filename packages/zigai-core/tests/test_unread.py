"""A model with unread tensors or hyperparameters is refused, unless they are neutral."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from zigai_core.api.installed import report
from zigai_core.api.loading import build
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.errors import PluginError, UnsupportedError
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.hyperparameter_keys import NEUTRAL, changes_numbers
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.toys import toy_decoder


@pytest.fixture(autouse=True)
def _forget_reported_warnings() -> None:
    report.cache_clear()


def plain(model: ModelDescriptor, *, context: int) -> Graph:
    return decoder(model, context=context, pairing="adjacent")


PLUGINS = Plugins(architectures={"llama": plain})


def with_tensor(name: str, values: Any, model: ModelDescriptor | None = None) -> ModelDescriptor:
    model = model or toy_decoder(layers=1)
    stored = np.asarray(values, np.float32)
    tensor = TensorInfo(name, stored.shape, DTYPES["F32"], stored.view(np.uint8).reshape(-1))
    return dataclasses.replace(model, tensors={**model.tensors, name: tensor})


def built(model: ModelDescriptor, **options: Any) -> Graph:
    return build(model, context=64, plugins=PLUGINS, **options)


def test_the_error_for_an_unread_tensor_names_it_and_what_to_do() -> None:
    model = with_tensor("blk.0.attn_norm.bias", np.ones(64))
    with pytest.raises(UnsupportedError) as caught:
        built(model)
    assert str(caught.value) == (
        "toy-llama: the architecture llama does not read 1 of its tensors (blk.0.attn_norm.bias), so "
        "its results would be wrong. Update the package that serves llama, or ignore "
        "them: unread='warn' (--unread warn)"
    )


def test_with_unread_warn_the_tensor_is_logged_and_the_model_built(caplog: pytest.LogCaptureFixture) -> None:
    built(with_tensor("blk.0.attn_norm.bias", np.ones(64)), unread="warn")
    assert "(blk.0.attn_norm.bias)" in caplog.text


def test_of_many_unread_tensors_a_few_are_named_and_the_rest_counted() -> None:
    model = toy_decoder(layers=1)
    for index in range(40):
        model = with_tensor(f"extra.{index}.{'x' * 200}.weight", np.ones(1), model)
    with pytest.raises(UnsupportedError, match=r"40 of its tensors .* and 35 more\)") as caught:
        built(model)
    assert len(str(caught.value)) < 1000


def test_tensor_names_are_logged_without_control_characters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    built(with_tensor("bad\x1b[31m\nname", np.ones(1)), unread="warn")
    assert "bad" in caplog.messages[0]
    assert "\x1b" not in caplog.messages[0]
    assert "\n" not in caplog.messages[0]


@pytest.mark.parametrize(
    ("name", "value", "neutral"),
    [
        ("blk.0.attn_norm.bias", 0, True),
        ("blk.0.attn_norm.bias", 1e-9, False),
        ("blk.0.ffn_down.scale", 1, True),
        ("blk.0.ffn_down.scale", 0.5, False),
        ("blk.0.attn_q_norm.weight", 1, False),  # a norm changes numbers even with weights of 1
        ("blk.0.extra.weight", 0, False),
    ],
)
def test_biases_of_zeros_and_scales_of_ones_may_be_unread(name: str, value: float, neutral: bool) -> None:
    model = with_tensor(name, np.full(64, value))
    if neutral:
        built(model)
    else:
        with pytest.raises(UnsupportedError, match=name):
            built(model)


def test_tensors_that_an_architecture_leaves_out_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def leaving(model: ModelDescriptor, *, context: int) -> Graph:
        graph = decoder(model, context=context, pairing="adjacent")
        return dataclasses.replace(graph, left_out={"blk.*.nextn.*": "it drafts tokens"})

    plugins = Plugins(architectures={"llama": leaving})
    model = with_tensor("blk.1.nextn.eh_proj.weight", np.ones(4))
    for _ in range(2):
        build(with_tensor("blk.2.nextn.enorm.weight", np.ones(4), model), context=64, plugins=plugins)
    assert caplog.messages == ["llama leaves out blk.*.nextn.*: it drafts tokens"]
    with pytest.raises(UnsupportedError, match=r"\(blk\.1\.next\.weight\)"):
        build(with_tensor("blk.1.next.weight", np.ones(4), model), context=64, plugins=plugins)


def test_patterns_of_one_reason_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def leaving(model: ModelDescriptor, *, context: int) -> Graph:
        graph = decoder(model, context=context, pairing="adjacent")
        return dataclasses.replace(
            graph, left_out={"v.*": "no images", "mm.*": "no images", "a.*": "no sound"}
        )

    model = toy_decoder()
    for name in ("v.x.weight", "a.x.weight", "mm.x.weight", "v.y.weight"):
        model = with_tensor(name, np.ones(4), model)
    build(model, context=64, plugins=Plugins(architectures={"llama": leaving}))
    assert caplog.messages == ["llama leaves out v.*, mm.*: no images", "llama leaves out a.*: no sound"]


def test_the_builder_puts_patterns_and_constants_into_the_graph() -> None:
    model = with_tensor("rope_freqs.weight", np.ones(8))
    g = GraphBuilder(model.tensors)
    g.constant("rope_freqs.weight", 8)
    g.leave_out("blk.*.nextn.*", "it drafts tokens")
    g.output("logits", g.linear(g.select(g.embedding("token_embd", 64)), "output", 512))
    graph = g.finish()
    assert graph.constants == {"rope_freqs.weight"}
    assert graph.left_out == {"blk.*.nextn.*": "it drafts tokens"}
    with pytest.raises(PluginError, match="a reason"):
        g.leave_out("blk.*", "")
    built(model)  # the divisors are read as a constant


@pytest.mark.parametrize("context", [64, 512])
def test_both_lists_of_longrope_factors_are_read(context: int) -> None:
    hp = {
        "rope.scaling.type": "longrope",
        "rope.scaling.factor": 2.0,
        "rope.scaling.original_context_length": 128,
    }
    model = toy_decoder(layers=1, **{key.replace(".", "__"): value for key, value in hp.items()})
    for kind in ("long", "short"):
        model = with_tensor(f"rope_factors_{kind}.weight", np.ones(8), model)
    build(model, context=context, plugins=PLUGINS)


@pytest.mark.parametrize(
    ("key", "value", "neutral"),
    [
        ("final_logit_softcapping", 30.0, False),
        ("final_logit_softcapping", 0.0, True),
        ("attention.scale", 0.1, False),
        ("logit_scale", 1.0, True),
        ("logit_scale", 0.0625, False),
        ("attention.sliding_window", 32, False),
        ("attention.sliding_window", 64, True),  # not smaller than the context
        ("attention.sliding_window", np.array([64, 32]), False),
        ("attention.sliding_window_pattern", np.array([True, False]), True),  # there is no window
        ("expert_weights_norm", False, True),
        ("rope.scaling.yarn_log_multiplier", 0.1, True),  # no YaRN, no multiplier
        ("swiglu_clamp_exp", np.array([0.0, 7.0], np.float32), False),
        ("vocab_size", 512, True),
        ("made_up_key", 7, True),
    ],
)
def test_a_hyperparameter_that_changes_numbers_must_be_read_or_neutral(
    key: str, value: Any, neutral: bool
) -> None:
    model = toy_decoder(layers=1, **{key.replace(".", "__"): value})
    if neutral:
        built(model)
        return
    with pytest.raises(UnsupportedError, match=f"does not read the hyperparameters {key}="):
        built(model)


@pytest.mark.parametrize(("pattern", "neutral"), [([True, True], True), ([True, False], False), (4, False)])
def test_a_window_pattern_must_be_read_unless_all_layers_have_the_window(pattern: Any, neutral: bool) -> None:
    def windowed(model: ModelDescriptor, *, context: int) -> Graph:
        window = model.hyperparameters.integer("attention.sliding_window")
        return decoder(model, context=context, pairing="adjacent", window=window)

    plugins = Plugins(architectures={"llama": windowed})
    model = toy_decoder(layers=1, attention__sliding_window=8, attention__sliding_window_pattern=pattern)
    if neutral:
        build(model, context=64, plugins=plugins)
    else:
        with pytest.raises(UnsupportedError, match=r"attention\.sliding_window_pattern="):
            build(model, context=64, plugins=plugins)


def test_unknown_hyperparameters_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "zigai"):
        built(toy_decoder(layers=1, made_up_key=7))
    assert caplog.messages == ["toy-llama: hyperparameters that nothing reads: made_up_key"]


def test_a_hyperparameter_that_the_architecture_reads_is_accepted() -> None:
    def reading(model: ModelDescriptor, *, context: int) -> Graph:
        model.hyperparameters.number("final_logit_softcapping", 0.0)
        return decoder(model, context=context, pairing="adjacent")

    plugins = Plugins(architectures={"llama": reading})
    model = toy_decoder(layers=1, final_logit_softcapping=30.0)
    build(model, context=64, plugins=plugins)
    with pytest.raises(UnsupportedError):
        built(model)  # reads are counted for each architecture


def test_neutral_values_do_not_change_numbers() -> None:
    for key, values in NEUTRAL.items():
        for value in values:
            assert not changes_numbers({key: value}, key, context=64), key
        assert not changes_numbers({key: np.array(values)}, key, context=64), key


def test_getters_record_reads_and_iteration_does_not() -> None:
    hp = Hyperparameters({"a": 1, "b": 2.0, "c": "x", "d": True, "e": [1], "f": 6, "g": 7})
    assert dict(hp.items())["a"] == 1
    assert next(iter(hp.values())) == 1
    assert "a" in hp
    assert hp.read == frozenset()
    hp.integer("a"), hp.number("b"), hp.text("c"), hp.flag("d"), hp.integers("e", 1), hp["f"], hp.get("g")
    assert hp.read == set("abcdefg")
    assert hp.tracked().read == frozenset()


def test_replaced_hyperparameters_share_the_record_of_reads() -> None:
    hp = Hyperparameters({"feed_forward.length": 8, "other": 1}, prefix="qwen")
    other = hp.replaced(feed_forward__length=4)
    assert other.integer("feed_forward.length") == 4
    assert hp.read == {"feed_forward.length"}
    assert hp.integer("feed_forward.length") == 8


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("attention.causal", 1, False),
        ("attention.causal", 0, True),
        ("attention.scale", 0.25, False),
        ("attention.scale", 0.2, True),
        ("pooling_type", -1, False),
        ("pooling_type", 1, True),
        ("rope.dimension_count", 16, False),  # a whole head
        ("rope.dimension_count", 8, True),
        ("rope.dimension_count", True, True),
        ("rope.dimension_count", [16, 8], True),
    ],
)
def test_values_without_effect_are_known_in_every_form(key: str, value: object, expected: bool) -> None:
    hp = {"embedding_length": 64, "attention.head_count": 4, key: value}
    assert changes_numbers(hp, key, context=64) is expected


@pytest.mark.parametrize(("hp", "expected"), [({"attention.key_length": 24}, False), ({}, True)])
def test_rope_on_part_of_a_head_changes_numbers_unless_the_head_is_that_wide(
    hp: dict[str, object], expected: bool
) -> None:
    known = {"embedding_length": 64, "attention.head_count": 4, "rope.dimension_count": 24, **hp}
    assert changes_numbers(known, "rope.dimension_count", context=64) is expected
    assert changes_numbers({"rope.dimension_count": 24}, "rope.dimension_count", context=64)  # of no head


def test_an_architecture_that_rotates_whole_heads_is_not_given_a_model_of_partial_rotation() -> None:
    def whole_heads(model: ModelDescriptor, *, context: int) -> Graph:
        hp = {key: value for key, value in model.hyperparameters.items() if key != "rope.dimension_count"}
        for key in hp:
            model.hyperparameters.get(key)
        other = dataclasses.replace(model, hyperparameters=Hyperparameters(hp, prefix="llama"))
        return decoder(other, context=context, pairing="adjacent")

    plugins = Plugins(architectures={"llama": whole_heads})
    build(toy_decoder(layers=1), context=64, plugins=plugins)
    with pytest.raises(UnsupportedError, match=r"hyperparameters rope\.dimension_count=8"):
        build(toy_decoder(layers=1, rope__dimension_count=8), context=64, plugins=plugins)
