"""`LoadOptions`: values are checked at construction, and the keywords of loading are its fields."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from zigai_core.api import loading
from zigai_core.api.loading import assemble, load
from zigai_core.contracts.errors import UnsupportedError
from zigai_core.contracts.load_options import LoadOptions
from zigai_core.testing.toys import toy_decoder


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("backend", "", "must be a name, not ''"),
        ("backend", None, "must be a name, not None"),
        ("threads", 0, "must be a whole number of at least 1, not 0"),
        ("threads", True, "must be a whole number of at least 1, not True"),
        ("threads", 2.0, "must be a whole number of at least 1, not 2.0"),
        ("threads", "2", "must be a whole number of at least 1, not '2'"),
        ("context", -1, "must be a whole number of at least 1, not -1"),
        ("context", 2**40, "must be below 2147483648, not 1099511627776"),
        ("sequences", 0, "must be a whole number of at least 1, not 0"),
        ("queue", "many", "must be a whole number of at least 1, not 'many'"),
        ("kv_dtype", 16, "must be a name, not 16"),
        ("packed_cache", 3, "must name a folder, not 3"),
        ("packed_cache", "", "must name a folder, not ''"),
        ("backend_options", ["packed_cache"], "must be a mapping of names to values"),
        ("budget", 0, "must be a number of tokens (32768) or of bytes (2G), not 0"),
        ("budget", True, "must be a number of tokens (32768) or of bytes (2G), not True"),
        ("budget", "2 GB", "must be a number of tokens (32768) or of bytes (2G), not '2 GB'"),
        ("budget", "9" * 300, "must be a number of tokens (32768) or of bytes (2G), not '999"),
        ("unread", "ignore", "must be one of error, warn, not 'ignore'"),
        ("unread", ["x" * 1000], "must be one of error, warn, not ['xxx"),
    ],
)
def test_a_bad_value_is_refused_by_name_when_the_options_are_made(name: str, value: Any, what: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        LoadOptions(**{name: value})
    assert str(caught.value).startswith(f"{name} {what}")
    assert len(str(caught.value)) < 160


def test_a_bad_value_is_refused_before_a_file_is_looked_for() -> None:
    with pytest.raises(UnsupportedError, match="threads must be"):
        load("absent.gguf", threads=0)


def test_a_misspelt_option_is_a_type_error_that_names_it() -> None:
    for function, given in (("load", "absent.gguf"), ("assemble", toy_decoder(layers=1))):
        call: Any = {"load": load, "assemble": assemble}[function]
        wrong = rf"^{function}\(\) got an unexpected keyword argument "
        with pytest.raises(TypeError, match=wrong + r"'thread'; did you mean threads"):
            call(given, thread=1)
        with pytest.raises(TypeError, match=wrong + r"'progres'; did you mean progress"):
            call(given, progres=print)
        with pytest.raises(TypeError, match=wrong + r"'plugin'; did you mean plugins"):
            call(given, plugin=None)
        with pytest.raises(TypeError, match=wrong + r"'foo'; there are backend, threads, context, "):
            call(given, threads=1, foo=1)


@pytest.mark.parametrize("function", [load, assemble])
def test_the_keywords_of_loading_are_the_fields_of_the_options(function: Any) -> None:
    parameters = inspect.signature(function).parameters
    fields = [field.name for field in LoadOptions.fields()]
    assert list(parameters) == [next(iter(parameters)), *loading.KEYWORDS, *fields]
    for field in LoadOptions.fields():
        assert f"`{field.name}`: {field.metadata['help']}" in function.__doc__


def test_packed_cache_is_passed_to_the_backend_as_a_setting() -> None:
    options = LoadOptions(packed_cache="folder", backend_options={"fused": False})
    assert options.settings == {"fused": False, "packed_cache": Path("folder")}
    with pytest.raises(UnsupportedError, match="packed_cache is given twice"):
        LoadOptions(packed_cache="folder", backend_options={"packed_cache": "other"})


def test_a_budget_is_tokens_or_bytes() -> None:
    assert LoadOptions().room() == (None, None)
    assert LoadOptions(budget=300).room() == LoadOptions(budget="300").room() == (300, None)
    assert LoadOptions(budget="2g").room() == (None, 2 << 30)
    assert LoadOptions(budget="1K").room() == (None, 1024)
