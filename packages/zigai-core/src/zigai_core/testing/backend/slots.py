"""The conformance suite for recurrent states: what a step reads from slots and writes to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.batch import Batch, Slots
from zigai_core.contracts.descriptor import TensorInfo
from zigai_core.contracts.errors import Cancelled, ShapeError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Executor
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.checks import ints, raises
from zigai_core.testing.toys import random_tensors

VOCABULARY, WIDTH, TAPS = 40, 32, 4
HEADS, HEAD, KEY, STATE = 4, 8, 6, 3
"""Heads of the delta rule and of the scan; widths of a head, of a key, and of a scan's state."""

RUN = np.zeros(1, np.int32)
LONG = list(range(3, 20))


def slots_tensors() -> dict[str, TensorInfo]:
    """Returns an embedding with a deviation of about 30, filters and decays."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (VOCABULARY, WIDTH),
        "conv.weight": (WIDTH, TAPS),
    }
    tensors = random_tensors({**shapes, "decay": (HEADS,), "direct": (HEADS,)})
    changed = {
        "token_embd.weight": tensors["token_embd.weight"].to_float32() * 30 * WIDTH**0.5,
        "decay": -np.abs(tensors["decay"].to_float32()),
    }
    for name, values in changed.items():
        tensors[name] = tensors[name].changed(data=np.ascontiguousarray(values).view(np.uint8).reshape(-1))
    return tensors


def slots_graph(tensors: Mapping[str, TensorInfo]) -> Graph:
    """Returns a graph whose output `hidden` is the sum of a convolution, a delta rule and a scan."""
    g = GraphBuilder(tensors)
    x = g.embedding("token_embd", WIDTH)
    small = g.scale(x, 0.01, name="small")
    total = g.short_conv(x, "conv", state="inputs")
    q, k, step, decay, beta, b, c = (
        g.columns(small, start, width, name=name) for name, (start, width) in COLUMNS.items()
    )
    decay = g.scale(g.multiply(decay, decay, name="decay squared"), -1.0, name="log decay")
    step = g.multiply(step, step, name="step squared")
    how: dict[str, Any] = {"heads": HEADS, "key_heads": HEADS // 2, "scale": 0.5}
    delta = g.gated_delta(q, k, x, decay, beta, state="products", name="delta", **how)
    scan = g.selective_scan(
        x, step, b, c, a="decay", d="direct", state="channels", heads=HEADS, groups=2, name="scan"
    )
    for name, part in (("delta sum", delta), ("scan sum", scan)):
        total = g.add(total, part, name=name)
    g.output("hidden", g.select(total))
    return g.finish()


COLUMNS = {
    "q": (0, HEADS // 2 * KEY),
    "k": (7, HEADS // 2 * KEY),
    "step": (20, HEADS),
    "decay": (24, HEADS),
    "beta": (28, HEADS),
    "b": (2, 2 * STATE),
    "c": (11, 2 * STATE),
}
"""First column and width, in the small embedding, of the operations' smaller inputs."""


def outputs_by_loops(tensors: Mapping[str, TensorInfo], tokens: Sequence[int]) -> NDArray[np.float64]:
    """Returns the output of `slots_graph` for each of the tokens of a sequence, element by element."""
    w = {name: tensor.to_float32().astype(float) for name, tensor in tensors.items()}
    inputs = [w["token_embd.weight"][token] for token in tokens]
    s, h = np.zeros((HEADS, KEY, HEAD)), np.zeros((HEADS, HEAD, STATE))
    rows = []
    for t, x in enumerate(inputs):
        part = {name: x[start : start + width] / 100 for name, (start, width) in COLUMNS.items()}
        y = np.zeros(WIDTH)
        for tap in range(min(t + 1, TAPS)):
            y += w["conv.weight"][:, TAPS - 1 - tap] * inputs[t - tap]
        for head in range(HEADS):
            own, half = slice(head * HEAD, (head + 1) * HEAD), head // 2
            k, q = (part[name][half * KEY : (half + 1) * KEY] for name in "kq")
            b, c = (part[name][half * STATE : (half + 1) * STATE] for name in "bc")
            s[head] *= np.exp(-(part["decay"][head] ** 2))
            s[head] += np.outer(k, part["beta"][head] * (x[own] - k @ s[head]))
            step = part["step"][head] ** 2
            h[head] = np.exp(step * w["decay"][head]) * h[head] + step * np.outer(x[own], b)
            y[own] += q @ s[head] / 2 + h[head] @ c + w["direct"][head] * x[own]
        rows.append(y)
    return np.array(rows)


class SlotsConformance(Conformance):
    """Tests of slots, with core's operations that have a recurrent state.

    They are skipped if `unsupported` names one of these: the backend must name it as missing and refuse it.
    """

    def test_a_sequence_without_tokens_has_zeros(self) -> None:
        at = self._slots(2)
        _run(at, [5, 6, 7], writes=[(2, 0), (1, 1)])
        self._are_right(_run(at, [8, 9]), [8, 9])

    def test_each_checkpoint_in_a_chunk_has_the_state_after_its_row(self) -> None:
        at = self._slots(6)
        self._are_right(_run(at, LONG, writes=[(16, 1), (0, 4), (7, 0), (15, 5)]), LONG)
        for row, slot in ((0, 4), (7, 0), (15, 5), (16, 1)):
            own = [*LONG[: row + 1], 2, 1]
            self._are_right(_run(at, [2, 1], first=row + 1, read=slot), own)

    def test_a_state_may_be_written_to_two_slots(self) -> None:
        at = self._slots(3)
        _run(at, [5, 6], writes=[(1, 0), (1, 2)])
        for slot in (0, 2):
            self._are_right(_run(at, [7], first=2, read=slot), [5, 6, 7])

    def test_a_slot_that_is_read_or_not_named_is_unchanged(self) -> None:
        at = self._slots(4)
        _run(at, [5, 6], writes=[(1, 0)])
        _run(at, [9], writes=[(0, 1)])
        _run(at, [7, 8], first=2, read=0, writes=[(1, 3), (0, 2)])
        _run(at, [7, 8, 9], first=2, read=0)
        for slot, own in ((0, [5, 6]), (1, [9]), (2, [5, 6, 7]), (3, [5, 6, 7, 8])):
            self._are_right(_run(at, [4], first=len(own), read=slot), [*own, 4])

    def test_forks_read_one_slot(self) -> None:
        at = self._slots(4)
        _run(at, [5, 6], writes=[(1, 3)])
        # Three forks in a step, the middle one of two tokens, and a new sequence before them.
        batch = Batch(
            tokens=ints([1, 7, 8, 9, 7]),
            sequences=ints([0, 1, 2, 2, 3]),
            index=ints([0, 2, 2, 3, 2]),
            output_rows=ints(range(5)),
            groups=(Slots(ints([-1, 3, 3, 3]), np.array([(3, 0), (1, 1), (4, 2)], np.int32)),),
        )
        rows = at.run(batch, RUN).rows("hidden").copy()
        for row, own in enumerate(([1], [5, 6, 7], [5, 6, 8], [5, 6, 8, 9], [5, 6, 7])):
            self._are_right(rows[row : row + 1], own)
        for slot, own in ((0, [5, 6, 8, 9]), (1, [5, 6, 7]), (2, [5, 6, 7]), (3, [5, 6])):
            self._are_right(_run(at, [2], first=len(own), read=slot), [*own, 2])

    def test_a_step_that_fails_or_is_cancelled_changes_no_slot_that_was_readable(self) -> None:
        at = self._slots(3)
        _run(at, [5, 6], writes=[(1, 0)])
        for error, tokens, stop in ((ShapeError, [7, VOCABULARY], 0), (Cancelled, [7, 8], 1)):
            raises(error, str(tokens), _run, at, tokens, first=2, read=0, writes=[(1, 1)], stop=stop)
            self._are_right(_run(at, [7, 8], first=2, read=0, writes=[(1, 2)]), [5, 6, 7, 8])
            self._are_right(_run(at, [9], first=4, read=2), [5, 6, 7, 8, 9])

    def test_slots_are_copied_whole(self) -> None:
        at = self._slots(4)
        _run(at, [5, 6], writes=[(1, 0), (0, 1)])
        at.copy(0, [(0, 2), (1, 3), (2, 1)])  # in this order
        at.copy(0, [])
        for slot, own in ((0, [5, 6]), (1, [5, 6]), (2, [5, 6]), (3, [5])):
            self._are_right(_run(at, [4], first=len(own), read=slot), [*own, 4])

    def test_slots_out_of_range_are_refused(self) -> None:
        at = self._slots(2)
        for read, writes in ((2, []), (-2, []), (-1, [(0, 2)]), (-1, [(0, -1)]), (-1, [(1, 0)])):
            raises(ShapeError, f"reads {read}, writes {writes}", _run, at, [5], read=read, writes=writes)

    def _slots(self, count: int) -> Executor:
        """Returns an executor with so many slots."""
        tensors = slots_tensors()
        options = CompileOptions(context=32, batch=32, page=8)
        program = self._compile(slots_graph(tensors), tensors, options, "recurrent states")
        return program.new_executor([count])

    def _are_right(self, rows: Array, tokens: Sequence[int]) -> None:
        """Asserts that `rows` are the outputs after the last of `tokens`, by loops in float64."""
        expected = outputs_by_loops(slots_tensors(), tokens)[-len(rows) :]
        np.testing.assert_allclose(
            rows, expected, rtol=1e-5, atol=self.reference_tolerance, err_msg=str(tokens)
        )


def _run(
    at: Executor,
    tokens: Sequence[int],
    *,
    first: int = 0,
    read: int = -1,
    writes: Sequence[tuple[int, int]] = (),
    stop: int = 0,
) -> Array:
    """Appends tokens to a sequence of `first` tokens, whose state is in the slot `read`."""
    batch = Batch(
        tokens=ints(tokens),
        sequences=ints([0] * len(tokens)),
        index=ints(range(first, first + len(tokens))),
        output_rows=ints(range(len(tokens))),
        groups=(Slots(ints([read]), np.array(writes, np.int32).reshape(-1, 2)),),
    )
    return at.run(batch, ints([stop])).rows("hidden").copy()
