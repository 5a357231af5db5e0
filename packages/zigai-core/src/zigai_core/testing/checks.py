"""Small helpers of conformance suites: an expected error, and arrays of int32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from zigai_core.contracts.batch import Ints


def raises(
    error: type[BaseException], case: str, call: Callable[..., object], *arguments: Any, **keywords: Any
) -> None:
    """Asserts that a call raises this error, and no other one. `case` begins the text of the failure."""
    try:
        call(*arguments, **keywords)
    except error:
        return
    except Exception as other:
        raise AssertionError(f"{case}: {error.__name__} was expected, not {other!r}") from other
    raise AssertionError(f"{case}: {error.__name__} was expected, and nothing was raised")


def ints(values: Iterable[int]) -> Ints:
    """Returns an int32 array of these values."""
    return np.array(list(values), np.int32)
