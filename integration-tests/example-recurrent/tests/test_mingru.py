"""minGRU against a loop in float64 without graphs, and against itself by every schedule.

The functions need no tools but zigai-core and numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from toy_mingru import toy_mingru

from zigai_core.api.loading import assemble, build
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import ShapeError
from zigai_core.contracts.graph import Value
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.state import Recurrent, State
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.schedules.schedules import schedules_for, whole_prefill
from zigai_mingru import MinGRU, mingru

PLUGINS = Plugins().extended(
    architectures={"mingru": mingru}, backends={"numpy": NumpyBackend}, tokenizers={"llama": ByteTokenizer}
)
TOKENS = np.random.RandomState(0).randint(0, 512, 40).tolist()


def logits_of_a_loop(model: ModelDescriptor, tokens: Sequence[int]) -> np.ndarray:
    """The logits of each token, one layer after another, one token after another."""
    w = {name: tensor.to_float32().astype(np.float64) for name, tensor in model.tensors.items()}
    hp = model.hyperparameters

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean() + hp["attention.layer_norm_rms_epsilon"]) * w[f"{name}.weight"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0)

    states = [np.zeros(hp["recurrent.state_length"]) for _ in range(hp["block_count"])]
    rows = []
    for token in tokens:
        x = w["token_embd.weight"][token]
        for layer in range(hp["block_count"]):
            at = f"blk.{layer}"
            h = norm(x, f"{at}.gru_norm")
            z = sigmoid(linear(h, f"{at}.gru_gate"))
            states[layer] = (1 - z) * states[layer] + z * linear(h, f"{at}.gru_candidate")
            x = x + linear(states[layer], f"{at}.gru_output")
            h = norm(x, f"{at}.ffn_norm")
            gate = linear(h, f"{at}.ffn_gate")
            x = x + linear(gate * sigmoid(gate) * linear(h, f"{at}.ffn_up"), f"{at}.ffn_down")
        rows.append(w["token_embd.weight"] @ norm(x, "output_norm"))
    return np.array(rows)


def test_logits_are_those_of_a_loop_in_float64() -> None:
    for bias in (False, True):
        model = toy_mingru(bias=bias)
        logits = assemble(model, plugins=PLUGINS, backend="numpy").logits(TOKENS)
        np.testing.assert_allclose(logits, logits_of_a_loop(model, TOKENS), rtol=0, atol=1e-4)


def test_the_state_matters() -> None:
    model = assemble(toy_mingru(), plugins=PLUGINS, backend="numpy")
    other = [TOKENS[0] + 1, *TOKENS[1:]]
    assert np.abs(model.logits(TOKENS)[5] - model.logits(other)[5]).max() > 1e-2


def test_every_schedule_gives_the_same() -> None:
    model = toy_mingru()
    graph = build(model, context=64, plugins=PLUGINS)
    program = NumpyBackend().compile(graph, model.tensors, CompileOptions(context=64, batch=48, page=8))
    expected = whole_prefill(program, TOKENS)
    applicable, left_out = schedules_for(graph)
    assert left_out.keys() == {"after truncation"}
    for name, schedule in applicable.items():
        for output, rows in schedule(program, TOKENS).items():
            np.testing.assert_allclose(rows, expected[output], rtol=0, atol=1e-4, err_msg=name)


def test_a_reply_is_that_of_a_loop() -> None:
    model = toy_mingru()
    tokens = [1, 300, 301]
    reply = assemble(model, plugins=PLUGINS, backend="numpy").generate(tokens, temperature=0, max_tokens=12)
    reply.text  # noqa: B018 - computes the reply
    expected: list[int] = []
    while len(expected) < len(reply.tokens):
        expected.append(int(logits_of_a_loop(model, [*tokens, *expected])[-1].argmax()))
    assert len(expected) > 1
    assert list(reply.tokens) == expected


def test_what_does_not_fit_is_refused() -> None:
    state = State("s", Recurrent({"h": ((4,), "float32")}))
    good = MinGRU(Value("y", 4), Value("a", 4), Value("b", 4), state)
    assert good.fault() is None
    for wrong in (
        MinGRU(Value("y", 4), Value("a", 4), Value("b", 8), state),
        MinGRU(Value("y", 8), Value("a", 8), Value("b", 8), state),
        MinGRU(Value("y", 4, "wanted"), Value("a", 4, "wanted"), Value("b", 4, "wanted"), state),
    ):
        assert "a row of" in str(wrong.fault())
    try:
        build(toy_mingru(recurrent__state_length=40), context=64, plugins=PLUGINS)
    except ShapeError as error:
        assert "blk.0.gru_gate.weight" in str(error)
    else:
        raise AssertionError("a state of another length was accepted")
