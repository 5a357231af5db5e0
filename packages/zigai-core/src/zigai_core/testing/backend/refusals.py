"""The conformance suite for what a backend must refuse: batches, sizes, options, a forked process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from zigai_core.contracts.batch import Batch, Pages, Slots
from zigai_core.contracts.errors import ContextOverflowError, ShapeError, UnsupportedError, ZigAIError
from zigai_core.contracts.options import CompileOptions
from zigai_core.contracts.plugins import Program
from zigai_core.testing.backend.base import Conformance
from zigai_core.testing.backend.states import VOCABULARY, state_tensors, two_layers

OPTIONS = CompileOptions(context=16, batch=6, page=4)
RUN = np.zeros(1, np.int32)


def _ints(*values: Any) -> Any:
    return np.array(values, np.int32)


GOOD = Batch(
    tokens=_ints(3, 4, 5),
    sequences=_ints(0, 0, 1),
    index=_ints(0, 1, 0),
    output_rows=_ints(0, 1, 2),
    groups=(Pages([_ints(0), _ints(2)]),),
)
"""Two sequences."""

BATCHES: dict[str, tuple[dict[str, Any], type[ZigAIError]]] = {
    "no rows": (
        {name: _ints() for name in ("tokens", "sequences", "index", "output_rows")},
        ShapeError,
    ),
    "a token beyond the vocabulary": ({"tokens": _ints(3, VOCABULARY, 5)}, ShapeError),
    "a negative token": ({"tokens": _ints(3, -1, 5)}, ShapeError),
    "fewer tokens than rows": ({"tokens": _ints(3, 4)}, ShapeError),
    "fewer indices than rows": ({"index": _ints(0, 1)}, ShapeError),
    "fewer sequences than rows": ({"sequences": _ints(0, 0)}, ShapeError),
    "tokens of 64 bits": ({"tokens": np.array([3, 4, 5], np.int64)}, ShapeError),
    "tokens in two dimensions": ({"tokens": _ints([3, 4, 5])}, ShapeError),
    "output rows of 64 bits": ({"output_rows": np.array([0])}, ShapeError),
    "an output row that does not exist": ({"output_rows": _ints(0, 3)}, ShapeError),
    "a negative output row": ({"output_rows": _ints(-1)}, ShapeError),
    "more rows than planned": (
        {
            "tokens": _ints(*range(7)),
            "sequences": _ints(*[0] * 7),
            "index": _ints(*range(7)),
            "groups": (Pages([_ints(0, 1)]),),
        },
        ContextOverflowError,
    ),
    "an index beyond the context": (
        {"index": _ints(15, 16, 0), "groups": (Pages([_ints(0, 1, 2, 3, 4), _ints(2)]),)},
        ContextOverflowError,
    ),
    "a negative index": ({"index": _ints(-1, 0, 0)}, ShapeError),
    "a gap in a sequence": ({"index": _ints(0, 2, 0)}, ShapeError),
    "a negative sequence": ({"sequences": _ints(0, 0, -1)}, ShapeError),
    "a sequence without a page table": ({"sequences": _ints(0, 0, 2)}, ShapeError),
    "no groups": ({"groups": ()}, ShapeError),
    "more groups than the graph has": ({"groups": GOOD.groups * 2}, ShapeError),
    "slots for a cache": ({"groups": (Slots(_ints(-1, -1), np.zeros((0, 2), np.int32)),)}, ShapeError),
    "a page table that is too short": ({"groups": (Pages([_ints(0), _ints()]),)}, ShapeError),
    "a page that does not exist": ({"groups": (Pages([_ints(0), _ints(5)]),)}, ShapeError),
    "positions of another number of rows": ({"positions": np.zeros((1, 2), np.int32)}, ShapeError),
    "an end behind the pages": ({"ends": _ints(5, 2, 1)}, ShapeError),
    "fewer ends than rows": ({"ends": _ints(1, 2)}, ShapeError),
}
"""By what is wrong, what `GOOD` is changed to and the error that must be raised."""


class RefusalsConformance(Conformance):
    """Tests that what a step cannot be computed from raises the documented error, and harms nothing."""

    def test_an_invalid_batch_is_refused_and_the_executor_stays_usable(self) -> None:
        at = self._program().new_executor([5])
        expected = at.run(GOOD, RUN).rows("hidden").copy()
        for name, (change, error) in BATCHES.items():
            batch = replace(GOOD, **change)
            _raises(error, partial(at.run, batch, RUN), name)
            np.testing.assert_array_equal(at.run(GOOD, RUN).rows("hidden"), expected, name)

    def test_an_encoder_refuses_a_part_of_a_sequence(self) -> None:
        graph, tensors = two_layers(stateless=True), state_tensors()
        at = self.backend.compile(graph, tensors, OPTIONS).new_executor([])
        whole = replace(GOOD, groups=(), ends=_ints(2, 2, 1))
        at.run(whole, RUN)
        later = replace(whole, index=whole.index + 1, ends=_ints(3, 3, 2))
        _raises(ShapeError, lambda: at.run(later, RUN), "rows that begin at 1")
        _raises(
            ShapeError, lambda: at.run(replace(whole, ends=_ints(3, 3, 1)), RUN), "an end behind the rows"
        )

    def test_sizes_that_are_none_are_refused(self) -> None:
        program = self._program()
        for sizes in ([], [3, 3], [0], [-1]):
            _raises(UnsupportedError, partial(program.new_executor, sizes), str(sizes))

    def test_options_out_of_range_are_refused(self) -> None:
        changes: tuple[dict[str, Any], ...] = (
            {"kv_dtype": "Q9_9"},
            {"context": 0},
            {"batch": 0},
            {"page": 0},
            {"page": -4},
        )
        graph, tensors = two_layers(), state_tensors()
        for change in changes:
            options = replace(OPTIONS, **change)
            _raises(
                UnsupportedError,
                partial(self.backend.compile, graph, tensors, options),
                str(change),
            )

    def test_a_copy_of_what_does_not_exist_is_refused(self) -> None:
        at = self._program().new_executor([5])
        for group, pairs in ((1, [(0, 1)]), (-1, [(0, 1)]), (0, [(0, 5)]), (0, [(5, 0)]), (0, [(0, -1)])):
            _raises(ShapeError, partial(at.copy, group, pairs), f"group {group}, {pairs}")

    def test_a_forked_process_is_refused(self) -> None:
        if not hasattr(os, "fork"):
            return  # no process is forked on this system
        at = self._program().new_executor([5])
        at.run(GOOD, RUN)
        for name, call in (
            ("run", lambda: at.run(GOOD, RUN)),
            ("copy", lambda: at.copy(0, [(0, 1)])),
        ):
            assert _in_a_fork(call) == "refused", f"{name} in a forked process raised no ZigAIError"
        at.run(GOOD, RUN)

    def _program(self) -> Program:
        return self.backend.compile(two_layers(), state_tensors(), OPTIONS)


def _raises(error: type[ZigAIError], call: Callable[[], object], case: str) -> None:
    try:
        call()
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{case}: {error.__name__} was expected, not {other!r}") from other
    raise AssertionError(f"{case}: {error.__name__} was expected, and nothing was raised")


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
