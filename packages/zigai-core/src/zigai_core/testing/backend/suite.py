"""The conformance suite for backends, as a class of tests to inherit from.

>>> class TestMyBackend(BackendConformance):     # doctest: +SKIP
...     backend = MyBackend()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from zigai_core.contracts.descriptor import ModelDescriptor, TensorInfo
from zigai_core.contracts.dtypes import DTYPES
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Backend
from zigai_core.engine.direct import DirectRunner, DirectSequence, Part
from zigai_core.ops.alibi import alibi_slopes
from zigai_core.ops.blocks import DecoderShape, decoder, projections
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.backend.base import OPTIONS
from zigai_core.testing.backend.best import BestConformance
from zigai_core.testing.backend.cache_types import CacheTypesConformance
from zigai_core.testing.backend.columns import ColumnsConformance
from zigai_core.testing.backend.experts import ExpertsConformance
from zigai_core.testing.backend.inputs import InputsConformance
from zigai_core.testing.backend.outputs import OutputsConformance
from zigai_core.testing.backend.pool import PoolConformance
from zigai_core.testing.backend.programs import ProgramsConformance
from zigai_core.testing.backend.refusals import RefusalsConformance
from zigai_core.testing.backend.slots import SlotsConformance
from zigai_core.testing.backend.states import StatesConformance
from zigai_core.testing.backend.stopping import StoppingConformance
from zigai_core.testing.toys import store_floats, toy_decoder


def runner(
    backend: Backend,
    model: ModelDescriptor,
    *,
    sequences: int = 1,
    context: int = 128,
    batch: int = 32,
    page: int = 16,
) -> DirectRunner:
    """Returns a runner of a decoder graph of `model` on `backend`."""
    plan = CompileOptions(context=context, batch=batch, page=page)
    return DirectRunner(backend.compile(decoder_graph(model, context), model.tensors, plan), sequences)


def decoder_graph(model: ModelDescriptor, context: int = OPTIONS.context) -> Graph:
    """Returns the graph of a model of `toy_decoder`."""
    qk_norm = "blk.0.attn_q_norm.weight" in model.tensors
    window = model.hyperparameters.integer("attention.sliding_window", 0) or None
    return decoder(model, context=context, pairing="adjacent", window=window, qk_norm=qk_norm)


def logits_of(at: DirectRunner, sequence: DirectSequence, tokens: Sequence[int]) -> Array:
    """Appends `tokens` to a sequence and returns their logits: float32 `[len(tokens), vocabulary]`."""
    return at.run([Part(sequence, tokens, want_all=True)])[0]["logits"]


def attending(model: ModelDescriptor, **attributes: Any) -> Graph:
    """Returns a graph with logits directly from the first layer's attention, given `attributes`.

    There is no RoPE: only the attention depends on positions.
    """
    shape, g = DecoderShape.of(model.hyperparameters), GraphBuilder(model.tensors)
    query, key, value = projections(g, g.embedding("token_embd", shape.width), "blk.0", shape)
    attributes |= {"heads": shape.heads, "kv_heads": shape.kv_heads}
    attributes |= {"head_dim": shape.head_dim, "value_dim": shape.value_dim}
    y = g.attention(query, key, value, state="blk.0", name="attention", **attributes)
    x = g.linear(g.select(y), "blk.0.attn_output", shape.width)
    g.output("logits", g.linear(x, "output", g.shape("output.weight")[0], name="logits"))
    return g.finish()


class BackendConformance(
    CacheTypesConformance,
    ProgramsConformance,
    ExpertsConformance,
    OutputsConformance,
    StatesConformance,
    SlotsConformance,
    StoppingConformance,
    RefusalsConformance,
    PoolConformance,
    BestConformance,
    ColumnsConformance,
    InputsConformance,
):
    """All tests of a backend. Inherit and set `backend`; for the tolerances see `Conformance`.

    To test graphs of your own, too, extend `graphs`: see `GraphsConformance`.
    """

    def _tokens(self, count: int, seed: int = 0) -> list[int]:
        return [int(token) for token in np.random.RandomState(seed).randint(0, 512, count)]

    def _decoder(self, model: ModelDescriptor | None = None, *, sequences: int = 1) -> DirectRunner:
        """Returns a runner of a decoder; by default, of the usual toy."""
        model = model or toy_decoder()
        return self._runner(decoder_graph(model), model.tensors, sequences=sequences)

    def _decoder_agrees(self, model: ModelDescriptor) -> None:
        tokens = self._tokens(70)
        expected = runner(NumpyBackend(), model)
        actual = self._decoder(model)
        np.testing.assert_allclose(
            logits_of(actual, actual.new_sequence(), tokens),
            logits_of(expected, expected.new_sequence(), tokens),
            rtol=0,
            atol=self.reference_tolerance,
        )

    def test_logits_of_a_decoder_agree_with_the_reference(self) -> None:
        self._decoder_agrees(toy_decoder())

    def test_tied_weights_with_biases_and_head_norms_agree_with_the_reference(self) -> None:
        self._decoder_agrees(toy_decoder(tied=True, bias=True, qk_norm=True, head_dim=32))

    def test_a_sliding_window_agrees_with_the_reference(self) -> None:
        self._decoder_agrees(toy_decoder(attention__sliding_window=9))

    def test_keys_and_values_of_different_widths_agree_with_the_reference(self) -> None:
        self._decoder_agrees(toy_decoder(head_dim=24, value_dim=40))
        self._decoder_agrees(toy_decoder(head_dim=40, value_dim=8, fused=True))

    def _attention_agrees(self, model: ModelDescriptor, **attributes: Any) -> None:
        """Asserts that attention agrees with the reference, and with itself in single steps and batches."""
        graph = attending(model, **attributes)
        actual = self._runner(graph, model.tensors, sequences=3)
        expected = DirectRunner(NumpyBackend().compile(graph, model.tensors, OPTIONS), 3)
        tokens = self._tokens(70)
        whole = logits_of(actual, actual.new_sequence(), tokens)
        np.testing.assert_allclose(
            whole,
            logits_of(expected, expected.new_sequence(), tokens),
            rtol=0,
            atol=self.reference_tolerance,
        )
        parts = [Part(actual.new_sequence(), tokens[:end], want_all=True) for end in (50, 11)]
        for part, outputs in zip(parts, actual.run(parts), strict=True):
            self._close(outputs["logits"], whole[: len(part.tokens)], actual.program)
        sequence = parts[0].sequence
        singles = np.concatenate([logits_of(actual, sequence, [token]) for token in tokens[50:]])
        self._close(singles, whole[50:], actual.program)

    def test_sinks_agree_with_the_reference(self) -> None:
        model, name = toy_decoder(), "blk.0.attn_sinks.weight"
        sinks = np.array([-np.inf, 0, 3, 1e6], np.float32)
        tensor = TensorInfo(name, (4,), DTYPES["F32"], store_floats(sinks, "F32"))
        model = replace(model, tensors={**model.tensors, name: tensor})
        self._attention_agrees(model, sinks="blk.0.attn_sinks")
        self._attention_agrees(model, sinks="blk.0.attn_sinks", window=9)

    def test_slopes_agree_with_the_reference(self) -> None:
        self._attention_agrees(toy_decoder(), slopes=alibi_slopes(4))
        self._attention_agrees(toy_decoder(), slopes=alibi_slopes(4), window=9, soft_cap=2.0)

    def test_chunks_agree_with_the_reference(self) -> None:
        for chunk in (1, 12, 16, 33, 70):
            self._attention_agrees(toy_decoder(head_dim=24, value_dim=40), chunk=chunk)

    def test_prefill_of_n_tokens_equals_n_single_steps(self) -> None:
        at = self._decoder(sequences=2)
        tokens = self._tokens(40)
        whole = logits_of(at, at.new_sequence(), tokens)
        sequence = at.new_sequence()
        self._close(np.concatenate([logits_of(at, sequence, [token]) for token in tokens]), whole, at.program)

    def test_sequences_in_a_batch_have_the_same_logits_as_alone(self) -> None:
        at = self._decoder(sequences=8)
        prompts = [self._tokens(length, seed=length) for length in (1, 7, 16, 33)]
        together = at.run([Part(at.new_sequence(), prompt, want_all=True) for prompt in prompts])
        for prompt, outputs in zip(prompts, together, strict=True):
            self._close(outputs["logits"], logits_of(at, at.new_sequence(), prompt), at.program)

    def test_a_truncated_sequence_continues_as_a_new_one_of_the_same_tokens(self) -> None:
        at = self._decoder(sequences=2)
        tokens = self._tokens(40)
        truncated, fresh = at.new_sequence(), at.new_sequence()
        logits_of(at, truncated, tokens)
        truncated.truncate(21)
        logits_of(at, fresh, tokens[:21])
        after = self._tokens(9, seed=5)
        self._close(logits_of(at, truncated, after), logits_of(at, fresh, after), at.program)

    def test_a_fork_and_its_origin_continue_independently(self) -> None:
        at = self._decoder(sequences=4)
        tokens = self._tokens(21)
        origin = at.new_sequence()
        logits_of(at, origin, tokens)
        fork = at.fork(origin)
        for sequence, after in ((fork, self._tokens(9, seed=5)), (origin, self._tokens(13, seed=6))):
            alone = at.new_sequence()
            logits_of(at, alone, tokens)
            self._close(logits_of(at, sequence, after), logits_of(at, alone, after), at.program)

    def test_only_output_rows_are_returned(self) -> None:
        at = self._decoder(sequences=2)
        tokens = self._tokens(40)
        every = logits_of(at, at.new_sequence(), tokens)
        last = at.run([Part(at.new_sequence(), tokens)])[0]["logits"]
        assert last.shape == (1, 512)
        self._close(last[0], every[-1], at.program)
