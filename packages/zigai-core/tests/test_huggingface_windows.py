"""Windows of config.json."""

from __future__ import annotations

from typing import Any

import pytest

from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.huggingface_windows import (
    window_if_any,
    window_of_some_layers,
    windows_by_layer_types,
)

WINDOW = "attention.sliding_window"


def test_kinds_of_layers_are_flags() -> None:
    found = windows_by_layer_types(["full_attention", "sliding_attention"])
    assert found == {f"{WINDOW}_pattern": [False, True]}
    assert windows_by_layer_types(None) == {}


@pytest.mark.parametrize("kind", [None, "linear_attention", 3, [], True])
def test_another_kind_of_layer_is_refused_by_name(kind: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"layers of .* are not supported"):
        windows_by_layer_types(["full_attention", kind])


@pytest.mark.parametrize("kinds", ["full_attention", 3, {}])
def test_kinds_that_are_no_array_are_an_error(kinds: Any) -> None:
    with pytest.raises(ValueError, match="must be an array"):
        windows_by_layer_types(kinds)


def test_a_window_is_a_number_or_missing() -> None:
    assert window_of_some_layers(4) == window_if_any(4) == {WINDOW: 4}
    assert window_if_any(None) == {}
    for value in (None, 0):
        with pytest.raises(UnsupportedError, match="is no window"):
            window_of_some_layers(value)
