"""Sampling defaults in a file's metadata."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.errors import FormatError
from zigai_core.contracts.options import SamplingOptions
from zigai_gguf import GGUFFormat, Typed, ValueType, write_gguf

ALL = {
    "sequence": "penalties;dry;top_k;typ_p;top_p;min_p;xtc;temperature",
    "top_k": Typed(ValueType.INT32, 20),
    "top_p": 0.95,
    "min_p": 0.1,
    "xtc_probability": 0.5,
    "xtc_threshold": 0.2,
    "temp": 0.6,
    "penalty_last_n": Typed(ValueType.INT32, -1),
    "penalty_repeat": 1.05,
    "mirostat": Typed(ValueType.INT32, 0),
    "mirostat_tau": 4.0,
    "mirostat_eta": 0.2,
}


def read(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The sampling defaults of a file with these keys."""
    keys = {f"general.sampling.{name}": value for name, value in given.items()}
    write_gguf(path, {"general.architecture": "llama", **keys})
    return dict(GGUFFormat().read(path).sampling)


def test_each_key_of_llama_cpp_becomes_an_option(path: Path) -> None:
    found = read(path, ALL)
    assert found == {
        "steps": (
            *("logit_bias", "penalties", "dry"),
            *("top_k", "typical_p", "top_p", "min_p", "xtc", "temperature", "mirostat"),
        ),
        "top_k": 20,
        "top_p": 0.95,
        "min_p": 0.1,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.2,
        "temperature": 0.6,
        "penalty_last_n": -1,
        "repeat_penalty": 1.05,
        "mirostat": 0,
        "mirostat_tau": 4.0,
        "mirostat_eta": 0.2,
    }
    assert SamplingOptions(**found).temperature == 0.6


def test_a_file_without_the_keys_has_no_defaults(path: Path) -> None:
    assert read(path, {}) == {}


def test_values_that_turn_a_step_off_in_llama_cpp_turn_it_off(path: Path) -> None:
    found = read(path, {"top_k": Typed(ValueType.INT32, -1), "temp": -1.0})
    assert found == {"top_k": 0, "temperature": 0.0}


def test_numbers_may_be_of_any_type(path: Path) -> None:
    given = {"temp": Typed(ValueType.FLOAT64, 0.7), "top_p": Typed(ValueType.UINT8, 1)}
    assert read(path, given) == {"temperature": 0.7, "top_p": 1.0}


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("temp", "warm", "is STRING, but must be a number"),
        ("temp", True, "is BOOL, but must be a number"),
        ("temp", float("nan"), "cannot be used: temperature must be a number of at least 0, not nan"),
        ("top_k", 40.0, "is FLOAT32, but must be an integer"),
        ("top_p", 1.5, "cannot be used: top_p must be a number within 0..1, not 1.5"),
        ("mirostat", 3, "cannot be used: mirostat must be a whole number within 0..2, not 3"),
        ("penalty_repeat", 0.0, "cannot be used: repeat_penalty must be above 0"),
        ("penalty_last_n", Typed(ValueType.INT32, -2), "cannot be used: penalty_last_n must be"),
        ("sequence", 7, "is UINT32, but must be STRING"),
        ("sequence", "top_k;temp;top-k", "names the step top_k twice"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_that_names_the_key(
    path: Path, name: str, value: object, what: str
) -> None:
    with pytest.raises(FormatError, match=rf"metadata 'general.sampling.{name}' {what}"):
        read(path, {name: value})


def test_what_is_not_known_is_named_and_left_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = read(path, {"sequence": "top_k;infill;temp", "warmth": 1.0})
    assert found == {"steps": ("logit_bias", "top_k", "temperature", "mirostat")}
    assert len(caplog.messages) == 2
    assert "the step 'infill' of 'general.sampling.sequence' is not known" in caplog.messages[0]
    assert "'general.sampling.warmth' is not known and has no effect" in caplog.messages[1]


def test_steps_that_edit_the_row_come_first_and_a_warning_says_so(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = read(path, {"sequence": "top_k;penalties;temperature"})
    assert found == {"steps": ("logit_bias", "penalties", "top_k", "temperature", "mirostat")}
    assert "the step penalties runs before top_k" in caplog.text
