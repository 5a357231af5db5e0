"""Code that is not ZigAI's: transformers, and the scripts beside a cases.toml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zigai_core.contracts.errors import UnsupportedError, ZigAIError


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Raises `UnsupportedError` for whatever the code in it raises, with `what` failed.

    Not for errors of ZigAI, which say so themselves, nor for Ctrl-C.
    """
    try:
        yield
    except ZigAIError:
        raise
    except (Exception, SystemExit) as error:
        raise UnsupportedError(f"{what} fails: {type(error).__name__}: {error}") from error
