"""The refusal of a hostile template, and the processor time it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from zigai_core.contracts.errors import TemplateError

TRIES = 3
"""Virtual machines count the time in which they are stopped as processor time: one slow try is no fault."""


def refusal_within(seconds: float, render: Callable[[], str]) -> TemplateError:
    """The error of a rendering that ends within `seconds` of processor time in one of `TRIES` tries."""
    took = []
    for _ in range(TRIES):
        began = time.process_time()
        with pytest.raises(TemplateError, match=r"^a test's template") as caught:
            render()
        took.append(time.process_time() - began)
        if took[-1] < seconds:
            return caught.value
    pytest.fail(f"each try took more than {seconds} s of processor time: {took}")
