"""Options for loading a model. The API's keywords and the command's options are made from them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import UnsupportedError

_BUDGET = re.compile(r"([1-9]\d{0,17})([KMGTkmgt]?)")

UNREAD = ("error", "warn")
"""What to do if tensors or hyperparameters that affect the results are not read."""

QUANTIZED = ("Q8_0", "Q4_0", "Q4_K")
"""Types that a model can be quantised to while it is loaded."""

FOR_SERVERS = frozenset({"sequences", "queue"})
"""Options that make no difference to one user: a command that serves many has them, others do not."""


def _about(help: str, *, metavar: str, shown: str) -> dict[str, str]:
    """Metadata of a field: its description, its placeholder in usage texts and its default in words."""
    return {"help": help, "metavar": metavar, "shown": shown}


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading a model. Raises `UnsupportedError`, with name and value, for an invalid value.

    To add an option, add a field: `zigai.load` takes it as a keyword and `zig-ai` as an option, but for those
    in `FOR_SERVERS`.

    >>> LoadOptions(threads=0)
    Traceback (most recent call last):
        ...
    zigai_core.contracts.errors.UnsupportedError: threads must be a whole number of at least 1, not 0
    """

    backend: str = field(
        default="auto",
        metadata=_about(
            "Backend, or auto for the fastest that supports the whole model.", metavar="NAME", shown="auto"
        ),
    )
    threads: int | None = field(
        default=None,
        metadata=_about("Number of threads.", metavar="N", shown="ZIGAI_NUM_THREADS, or one per CPU"),
    )
    context: int | None = field(
        default=None,
        metadata=_about("Context length, in tokens.", metavar="N", shown="the model's, up to 8192"),
    )
    quantize: str | None = field(
        default=None,
        metadata=_about(
            "Quantise matrices that are stored in floats while loading: Q8_0, or with 4 bits Q4_0 or Q4_K "
            "(those of embeddings and logits in Q8_0); none: as they are stored.",
            metavar="TYPE",
            shown="as they are stored",
        ),
    )
    kv_dtype: str | None = field(
        default=None,
        metadata=_about(
            "Storage type of the KV cache: F16, F32, or Q8_0 (about half the size of F16).",
            metavar="TYPE",
            shown="F32 for a model stored in F32, else F16",
        ),
    )
    budget: str | int | None = field(
        default=None,
        metadata=_about(
            "Room for the KV caches of all replies and chats together: tokens (32768), or bytes (2G).",
            metavar="TOKENS|BYTES",
            shown="4 contexts, at most a quarter of the memory",
        ),
    )
    sequences: int | None = field(
        default=None,
        metadata=_about("Most replies that are computed at the same time.", metavar="N", shown="64"),
    )
    queue: int | None = field(
        default=None,
        metadata=_about(
            "Most requests that may wait for their first step; one more is refused.",
            metavar="N",
            shown="1024",
        ),
    )
    packed_cache: Path | None = field(
        default=None,
        metadata=_about(
            "Folder where the native backend stores packed weights, so that later loads are faster.",
            metavar="FOLDER",
            shown="ZIGAI_PACKED_CACHE, or none",
        ),
    )
    backend_options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata=_about("Backend-specific settings, by name.", metavar="NAME=VALUE", shown="none"),
    )
    unread: str = field(
        default="error",
        metadata=_about(
            "What to do if the architecture does not read tensors or hyperparameters that affect the "
            "results: error refuses the model, warn loads it and logs a warning.",
            metavar="|".join(UNREAD),
            shown="error",
        ),
    )

    def __post_init__(self) -> None:
        self._text("backend")
        self._count("threads")
        self._count("context")
        self._count("sequences")
        self._count("queue")
        if self.kv_dtype is not None:
            self._text("kv_dtype")
        self._quantized()
        self.room()
        folder: Any = self.packed_cache
        if folder is not None:
            if not isinstance(folder, (str, PathLike)) or not str(folder):
                raise self._wrong("packed_cache", "must name a folder")
            object.__setattr__(self, "packed_cache", Path(folder))
        settings: Any = self.backend_options
        if not isinstance(settings, Mapping) or not all(isinstance(name, str) for name in settings):
            raise self._wrong("backend_options", "must be a mapping of names to values")
        if folder is not None and "packed_cache" in settings:
            raise UnsupportedError("packed_cache is given twice: as an option and in backend_options")
        if self.unread not in UNREAD:
            raise self._wrong("unread", f"must be one of {', '.join(UNREAD)}")

    @classmethod
    def of_call(cls, function: str, given: Mapping[str, Any], own: Sequence[str] = ()) -> LoadOptions:
        """Returns the options of a call of `function`, which has the keywords `own` besides.

        Raises `TypeError`, as Python does, for a keyword that is none, and names those like it.
        """
        known = [each.name for each in cls.fields()]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, [*known, *own], n=3)
                every = ", ".join([*known, *own])
                hint = f"did you mean {' or '.join(near)}?" if near else f"there are {every}"
                raise TypeError(f"{function}() got an unexpected keyword argument {name!r}; {hint}")
        return cls(**given)

    @classmethod
    def fields(cls) -> tuple[Field[Any], ...]:
        """The fields, each with `help`, `metavar` and `shown` (its default in words) as metadata."""
        return fields(cls)

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the backend's class: `backend_options`, and `packed_cache` if given."""
        given = dict(self.backend_options)
        if self.packed_cache is not None:
            given["packed_cache"] = self.packed_cache
        return given

    def room(self) -> tuple[int | None, int | None]:
        """Returns the budget in tokens and in bytes; at most one of them is given."""
        given: Any = self.budget
        if given is None:
            return None, None
        if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
            return int(given), None
        found = _BUDGET.fullmatch(given) if isinstance(given, str) else None
        if found is None:
            raise self._wrong("budget", "must be a number of tokens (32768) or of bytes (2G)")
        number, unit = int(found[1]), found[2].upper()
        return (number, None) if not unit else (None, number << 10 * (1 + "KMGT".index(unit)))

    def _text(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "must be a name")

    def _quantized(self) -> None:
        given: Any = self.quantize
        if given is None:
            return
        name = given.upper() if isinstance(given, str) else given
        if name not in (*QUANTIZED, "NONE"):
            raise self._wrong("quantize", f"must be one of {', '.join(QUANTIZED)}, none")
        object.__setattr__(self, "quantize", None if name == "NONE" else name)

    def _count(self, name: str) -> None:
        value: Any = getattr(self, name)
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
            raise self._wrong(name, "must be a whole number of at least 1")
        if int(value) >= 2**31:
            raise self._wrong(name, f"must be below {2**31}")
        object.__setattr__(self, name, int(value))

    def _wrong(self, name: str, what: str) -> UnsupportedError:
        value = repr(getattr(self, name))
        shown = value if len(value) <= 80 else value[:77] + "..."
        return UnsupportedError(f"{name} {what}, not {shown}")
