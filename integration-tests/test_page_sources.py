"""Pages that show the source of a package show what the package holds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zigai_gemma import gemma3, layers

PAGE = Path(__file__).resolve().parents[1] / "docs" / "write-an-architecture.md"


@pytest.mark.parametrize("function", [gemma3, layers.layer], ids=lambda function: function.__name__)
def test_the_page_about_architectures_shows_the_source_of_gemma_3(function: Callable[..., Any]) -> None:
    assert inspect.getsource(function) in PAGE.read_text(encoding="utf-8")
