"""Warnings of core and plugins: each once, and none while the user types."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zigai_cli.conversation.loading import Loading, Located, Ready
from zigai_cli.terminal.warning_log import collected_warnings, show_warnings

LOG = logging.getLogger("zigai")


@pytest.fixture(autouse=True)
def shown() -> Iterator[None]:
    """Warnings are shown as by the command, during a test."""
    handlers, propagate = LOG.handlers[:], LOG.propagate
    LOG.handlers.clear()
    show_warnings()
    yield
    LOG.handlers[:], LOG.propagate = handlers, propagate


def test_the_same_warning_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("one\x1b[31m\nline", "one\x1b[31m\nline", "another"):
        logging.getLogger("zigai.plugin").warning(text)
    assert capsys.readouterr().err == "zig-ai: one[31m line\nzig-ai: another\n"


def test_warnings_of_a_thread_are_collected_and_those_of_others_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with collected_warnings() as lines:
        LOG.warning("mine")
        other = threading.Thread(target=LOG.warning, args=("another's",))
        other.start()
        other.join()
    LOG.warning("later")
    assert lines == ["zig-ai: mine"]
    assert capsys.readouterr().err == "zig-ai: another's\nzig-ai: later\n"


def test_a_warning_while_a_chat_loads_is_a_remark_after_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Opener:
        def choose(self, name: str | None) -> Located:
            raise AssertionError

        def open(self, located: Located, progress: Any) -> Ready:
            LOG.warning("longer texts are cut off")
            talk: Any = None
            return Ready(talk, talk, talk, "", remarks=("packing took 9 s",))

    loading = Loading(Opener(), Located(Path("model.gguf")))
    loading.start()
    assert loading.wait(30)
    assert loading.result().remarks == ("packing took 9 s", "zig-ai: longer texts are cut off")
    assert capsys.readouterr().err == ""


def test_warnings_before_an_error_of_loading_are_written_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Opener:
        def choose(self, name: str | None) -> Located:
            raise AssertionError

        def open(self, located: Located, progress: Any) -> Ready:
            LOG.warning("passed over: a plugin")
            raise OSError("no package reads it")

    loading = Loading(Opener(), Located(Path("model.gguf")))
    loading.start()
    assert loading.wait(30)
    for _ in range(2):
        with pytest.raises(OSError, match="no package reads it"):
            loading.result()
    assert capsys.readouterr().err == "zig-ai: passed over: a plugin\n"
