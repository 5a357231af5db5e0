"""The conformance suite for the tensors that an architecture reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from unittest import SkipTest

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.graph import Graph
from zigai_core.testing.architecture.base import ArchitectureSuite
from zigai_core.testing.oracles.comparison import difference
from zigai_core.testing.oracles.names import changed_names, excused_tensors
from zigai_core.testing.oracles.oracle import Oracle, float_tensor


class TensorsConformance(ArchitectureSuite):
    """Tests of tensors that are missing, misshapen or unread, and of their names in folders."""

    def test_a_tensor_that_is_missing_is_named_or_is_optional(self, oracle: Oracle) -> None:
        own = self._own_outputs(oracle)
        for name in oracle.model.tensors:
            others = {key: tensor for key, tensor in oracle.model.tensors.items() if key != name}
            graph = self._built(replace(oracle.model, tensors=others), name, f"without tensor {name}")
            if graph is None:
                continue
            optional = any(fnmatchcase(name, pattern) for pattern in self.optional)
            assert optional, f"without tensor {name} the model is loaded: refuse it, or add it to `optional`"
            worst = difference(self._outputs(oracle, graph, others), own)
            excused = self._has_no_effect(name) and name in _read(self.build(oracle.model))
            assert excused or worst > self.tolerance, f"without tensor {name} the outputs are the same"

    def test_a_tensor_of_another_shape_is_named_or_has_no_effect(self, oracle: Oracle) -> None:
        own = self._own_outputs(oracle)
        for name, tensor in oracle.model.tensors.items():
            values = tensor.to_float32()
            for axis in range(values.ndim):
                larger = np.concatenate([values, values.take([0], axis)], axis)
                tensors = {**oracle.model.tensors, name: float_tensor(name, larger)}
                case = f"with tensor {name} of shape {larger.shape}, not {values.shape},"
                graph = self._built(replace(oracle.model, tensors=tensors), name, case)
                if graph is not None:  # rows more for tokens that the text does not have
                    found = self._outputs(oracle, graph, tensors)
                    cut = {key: found[key][:, : rows.shape[1]] for key, rows in own.items()}
                    assert difference(cut, own) <= self.tolerance, f"{case} the outputs differ"

    def test_a_tensor_that_nothing_reads_is_refused_by_name(self, oracle: Oracle) -> None:
        own = self._own_outputs(oracle)
        for name, shape in _surplus(oracle.model):
            tensor = float_tensor(name, np.linspace(0.5, 1.5, math.prod(shape)).reshape(shape))
            tensors = {**oracle.model.tensors, name: tensor}
            graph = self._built(replace(oracle.model, tensors=tensors), name, f"with a tensor {name}")
            if graph is not None:
                worst = difference(self._outputs(oracle, graph, tensors), own)
                excused = self._has_no_effect(name) and name in _read(graph)
                assert excused or worst > self.tolerance, (
                    f"a model with a tensor {name} is loaded, and its outputs are those of a model without: "
                    "read it, or make the patterns of leave_out() narrower"
                )

    def _has_no_effect(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.without_effect)

    def test_the_names_of_hugging_face_are_those_of_the_recording(self, oracle: Oracle) -> None:
        if not oracle.names:
            raise SkipTest("the oracle was not recorded from transformers")
        kind = oracle.names["model_type"]
        named = self.huggingface.get(kind) or self.plugins().huggingface.get(kind)
        named = named.classes.get(oracle.settings.get("model_class", ""), named)
        fitting = [
            each
            for each in (named, *named.variants.values())
            if each.architecture == oracle.names["architecture"]
        ]
        names = min(fitting, key=lambda each: len(changed_names(oracle.names, each)))
        changed = changed_names(oracle.names, names)
        assert not changed, (
            f"the names of {kind} have changed since the oracle was recorded: {'; '.join(changed)}. If that "
            "is meant, record it again, which compares outputs"
        )
        excused = excused_tensors(names)
        assert not excused, (
            f"{kind}: of the tensors that are left out {excused[0]}, which changes results if a file has it: "
            "make the pattern narrower"
        )


def _read(graph: Graph) -> set[str]:
    """The tensors that the graph's operations read."""
    return {weight.name for operation in graph for weight in operation.weights}


def _surplus(model: ModelDescriptor) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Tensors that other models have and this one lacks, with their shapes, and some that none has."""
    tensors = model.tensors
    width = tensors["token_embd.weight"].shape[-1] if "token_embd.weight" in tensors else 4
    names: dict[str, tuple[int, ...]] = dict.fromkeys(
        ("blk.0.surplus.weight", "blk.0.attn_q.surplus", "surplus.weight"), (3, 4)
    )
    for name, tensor in tensors.items():
        if name.endswith(".weight") and "embd" not in name:
            names[f"{name.removesuffix('.weight')}.bias"] = tensor.shape[-2:-1] or tensor.shape
    for part in ("attn_norm", "ffn_norm", "attn_post_norm", "post_attention_norm", "post_ffw_norm"):
        names[f"blk.0.{part}.weight"] = (width,)
    for part in ("attn_q_norm", "attn_k_norm", "attn_sinks"):
        names[f"blk.0.{part}.weight"] = (4,)
    for part in ("ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp", "ffn_gate_inp"):
        names[f"blk.0.{part}.weight"] = (5, width)
    names |= {"blk.0.exp_probs_b.bias": (5,), "rope_freqs.weight": (3,), "output_norm_enc.weight": (width,)}
    if "output.weight" not in tensors and "token_embd.weight" in tensors:
        names["output.weight"] = tensors["token_embd.weight"].shape
    yield from ((name, shape) for name, shape in names.items() if name not in tensors)
