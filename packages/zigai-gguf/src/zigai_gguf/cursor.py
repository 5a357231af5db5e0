"""A bounds-checked cursor over a file's header."""

from __future__ import annotations

from pathlib import Path
from struct import Struct

from zigai_core.contracts.errors import FormatError, quote
from zigai_gguf import limits

_U32 = Struct("<I")
_U64 = Struct("<Q")


class Cursor:
    """Reads a header sequentially.

    Every method checks that its bytes lie within the file and within `limits.HEADER_BYTES`, reads them and
    advances; otherwise it raises a `FormatError` with the byte offset and the name of the field.
    """

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.size = len(data)
        self.data = data[: limits.HEADER_BYTES]
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes between the position and the end of the header."""
        return len(self.data) - self.position

    def error(self, field: str, what: str, at: int | None = None) -> FormatError:
        """Returns a `FormatError` for `field` at byte `at`, by default the current position."""
        return FormatError(f"{self.path}: byte {self.position if at is None else at}: {field} {what}")

    def ended(self, field: str, needed: int, at: int) -> FormatError:
        """Returns the error for `needed` bytes at byte `at` that end past the file or the header."""
        if at + needed > self.size:
            return self.error(
                field,
                f"needs {needed} bytes but the file ends at byte {self.size}: it is truncated or damaged; "
                "download it again",
                at,
            )
        return self.error(field, f"extends past byte {len(self.data)}, the limit for a header", at)

    def take(self, count: int, field: str) -> int:
        """Advances by `count` bytes. Returns the position of the first."""
        if count > self.left:
            raise self.ended(field, count, self.position)
        start = self.position
        self.position += count
        return start

    def unpack(self, form: Struct, field: str) -> int | float:
        """Reads a single number."""
        start = self.take(form.size, field)
        value: int | float = form.unpack_from(self.data, start)[0]
        return value

    def u32(self, field: str) -> int:
        """Reads an unsigned 32-bit number."""
        return int(self.unpack(_U32, field))

    def u64(self, field: str) -> int:
        """Reads an unsigned 64-bit number."""
        return int(self.unpack(_U64, field))

    def count(self, field: str, each: int, maximum: int | None = None) -> int:
        """Reads a 64-bit count of items of at least `each` bytes, and checks that so many can follow.

        `maximum` is an additional limit.
        """
        at = self.position
        value = self.u64(field)
        if value * each > self.left:
            if at + 8 + value * each <= self.size:
                raise self.ended(field, value * each, at + 8)
            raise self.error(
                field,
                f"is {value}, but only {self.size - self.position} bytes follow: the file is truncated or "
                "damaged; download it again",
                at,
            )
        if maximum is not None and value > maximum:
            raise self.error(field, f"is {value}; at most {maximum} are supported", at)
        return value

    def string(self, field: str) -> str | bytes:
        """Reads a string: a 64-bit length and its bytes. Returns `bytes` if they are not valid UTF-8."""
        start = self.take(self.u64(field), field)
        stored = self.data[start : self.position]
        try:
            return str(stored, "utf-8")
        except UnicodeDecodeError:
            return bytes(stored)

    def text(self, field: str, maximum: int | None = None) -> str:
        """Reads a string that must be valid UTF-8 and at most `maximum` bytes long."""
        at = self.position
        length = self.u64(field)
        if maximum is not None and length > maximum:
            raise self.error(field, f"is {length} bytes long; at most {maximum} are allowed", at)
        start = self.take(length, field)
        try:
            return str(self.data[start : self.position], "utf-8")
        except UnicodeDecodeError as error:
            raise self.error(field, "is not valid UTF-8", start + error.start) from None

    def name(self, field: str) -> str:
        """Reads a key or the name of a tensor: not empty, at most `limits.NAME_BYTES` bytes, without NUL."""
        at = self.position
        value = self.text(field, limits.NAME_BYTES)
        if not value:
            raise self.error(field, "is empty", at)
        if "\0" in value:
            raise self.error(field, f"{quote(value)} contains a NUL character", at)
        return value
