"""The conformance suite for what a backend must refuse: batches, sizes, options, a forked process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import SkipTest

import numpy as np

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.errors import ContextOverflowError, ShapeError, UnsupportedError, ZigAIError
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Program
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.backend.states import VOCABULARY, state_tensors, two_layers
from zigai_core.testing.checks import ints, raises

OPTIONS = CompileOptions(context=16, batch=6, page=4)
RUN = np.zeros(1, np.int32)

GOOD = Batch(
    tokens=ints([3, 4, 5]),
    sequences=ints([0, 0, 1]),
    index=ints([0, 1, 0]),
    output_rows=ints([0, 1, 2]),
    groups=(Pages([ints([0]), ints([2])]),),
)
"""Two sequences."""

BATCHES: dict[str, tuple[dict[str, Any], type[ZigAIError]]] = {
    "no rows": (
        {name: ints([]) for name in ("tokens", "sequences", "index", "output_rows")},
        ShapeError,
    ),
    "a token beyond the vocabulary": ({"tokens": ints([3, VOCABULARY, 5])}, ShapeError),
    "a negative token": ({"tokens": ints([3, -1, 5])}, ShapeError),
    "fewer tokens than rows": ({"tokens": ints([3, 4])}, ShapeError),
    "fewer indices than rows": ({"index": ints([0, 1])}, ShapeError),
    "fewer sequences than rows": ({"sequences": ints([0, 0])}, ShapeError),
    "tokens of 64 bits": ({"tokens": np.array([3, 4, 5], np.int64)}, ShapeError),
    "tokens in two dimensions": ({"tokens": np.array([[3, 4, 5]], np.int32)}, ShapeError),
    "output rows of 64 bits": ({"output_rows": np.array([0])}, ShapeError),
    "an output row that does not exist": ({"output_rows": ints([0, 3])}, ShapeError),
    "a negative output row": ({"output_rows": ints([-1])}, ShapeError),
    "more rows than planned": (
        {
            "tokens": ints(range(7)),
            "sequences": ints([0] * 7),
            "index": ints(range(7)),
            "groups": (Pages([ints([0, 1])]),),
        },
        ContextOverflowError,
    ),
    "an index beyond the context": (
        {"index": ints([15, 16, 0]), "groups": (Pages([ints([0, 1, 2, 3, 4]), ints([2])]),)},
        ContextOverflowError,
    ),
    "a negative index": ({"index": ints([-1, 0, 0])}, ShapeError),
    "a gap in a sequence": ({"index": ints([0, 2, 0])}, ShapeError),
    "a negative sequence": ({"sequences": ints([0, 0, -1])}, ShapeError),
    "a sequence without a page table": ({"sequences": ints([0, 0, 2])}, ShapeError),
    "no groups": ({"groups": ()}, ShapeError),
    "more groups than the graph has": ({"groups": GOOD.groups * 2}, ShapeError),
    "slots for a cache": ({"groups": (Slots(ints([-1, -1]), np.zeros((0, 2), np.int32)),)}, ShapeError),
    "a page table that is too short": ({"groups": (Pages([ints([0]), ints([])]),)}, ShapeError),
    "a page that does not exist": ({"groups": (Pages([ints([0]), ints([5])]),)}, ShapeError),
    "positions of another number of rows": ({"positions": np.zeros((1, 2), np.int32)}, ShapeError),
    "an end behind the pages": ({"ends": ints([5, 2, 1])}, ShapeError),
    "fewer ends than rows": ({"ends": ints([1, 2])}, ShapeError),
}
"""By what is wrong, what `GOOD` is changed to and the error that must be raised."""


class RefusalsConformance(Conformance):
    """Tests that what a step cannot be computed from raises the documented error, and harms nothing."""

    def test_an_invalid_batch_is_refused_and_the_executor_stays_usable(self) -> None:
        at = self._program().new_executor([5])
        expected = at.run(GOOD, RUN).rows("hidden").copy()
        for name, (change, error) in BATCHES.items():
            batch = replace(GOOD, **change)
            raises(error, name, at.run, batch, RUN)
            np.testing.assert_array_equal(at.run(GOOD, RUN).rows("hidden"), expected, name)

    def test_an_encoder_refuses_a_part_of_a_sequence(self) -> None:
        graph, tensors = two_layers(stateless=True), state_tensors()
        at = self._compile(graph, tensors, OPTIONS).new_executor([])
        whole = replace(GOOD, groups=(), ends=ints([2, 2, 1]))
        at.run(whole, RUN)
        later = replace(whole, index=whole.index + 1, ends=ints([3, 3, 2]))
        raises(ShapeError, "rows that begin at 1", at.run, later, RUN)
        beyond = replace(whole, ends=ints([3, 3, 1]))
        raises(ShapeError, "an end behind the rows", at.run, beyond, RUN)

    def test_sizes_that_are_none_are_refused(self) -> None:
        program = self._program()
        for sizes in ([], [3, 3], [0], [-1]):
            raises(UnsupportedError, str(sizes), program.new_executor, sizes)

    def test_options_out_of_range_are_refused(self) -> None:
        changes: tuple[dict[str, Any], ...] = (
            {"kv_dtype": "Q9_9"},
            {"context": 0},
            {"batch": 0},
            {"page": 0},
            {"page": -4},
        )
        graph, tensors = two_layers(), state_tensors()
        self._compile(graph, tensors, OPTIONS)  # options in range are not refused
        for change in changes:
            options = replace(OPTIONS, **change)
            raises(UnsupportedError, str(change), self.backend.compile, graph, tensors, options)

    def test_a_copy_of_what_does_not_exist_is_refused(self) -> None:
        at = self._program().new_executor([5])
        for group, pairs in ((1, [(0, 1)]), (-1, [(0, 1)]), (0, [(0, 5)]), (0, [(5, 0)]), (0, [(0, -1)])):
            raises(ShapeError, f"group {group}, {pairs}", at.copy, group, pairs)

    def test_a_forked_process_is_refused(self) -> None:
        if not hasattr(os, "fork"):
            raise SkipTest("no process is forked on this system")
        at = self._program().new_executor([5])
        at.run(GOOD, RUN)
        for name, call in (
            ("run", lambda: at.run(GOOD, RUN)),
            ("copy", lambda: at.copy(0, [(0, 1)])),
        ):
            assert _in_a_fork(call) == "refused", f"{name} in a forked process raised no ZigAIError"
        at.run(GOOD, RUN)

    def _program(self) -> Program:
        return self._compile(two_layers(), state_tensors(), OPTIONS)


def _in_a_fork(call: Callable[[], object]) -> str:
    """Returns what became of a call in a forked process: `refused`, `returned` or `failed`."""
    answers = {0: "returned", 1: "failed", 2: "refused"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which this process may have
        child = os.fork()
    if not child:
        code = 1
        try:
            call()
            code = 0
        except ZigAIError:
            code = 2
        finally:
            os._exit(code)
    return answers.get(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "failed")
