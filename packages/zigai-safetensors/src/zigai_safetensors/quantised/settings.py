"""The values of `quantization_config` in config.json, checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from zigai_core.contracts.errors import FormatError, UnsupportedError, quote

WITHOUT_EFFECT: Mapping[str, str] = {
    "quant_method": "it has chosen the layout",
    "modules_to_not_convert": "the files show which weights are quantised; `check_excluded` compares",
    "dequantize": "how transformers computes, not what is stored",
}
"""Keys of every layout that do not change the values of weights: the reason by key."""


class Settings:
    """An object of `quantization_config`, or one inside it; `where` begins error texts."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            raise FormatError(f"{where} is {quote(values)}, but must be an object")
        self.values: Mapping[str, Any] = values
        self.where = where

    def inner(self, key: str) -> Settings:
        """The object at `key`; an empty one if it is missing or null."""
        value = self.values.get(key)
        return Settings({} if value is None else value, f"{self.where}.{key}")

    def check(self, used: Collection[str], without_effect: Collection[str]) -> None:
        """Raises `UnsupportedError` for other keys, unless they are null, false or empty."""
        for key, value in self.values.items():
            if (
                key in used
                or key in without_effect
                or value is None
                or value is False
                or value in ("", [], {})
            ):
                continue
            raise UnsupportedError(
                f"{self.where}.{key} is {quote(value)}, which is not known and may change the weights: look "
                "for the model without quantisation, or for a GGUF file of it"
            )

    def one_of(self, key: str, allowed: Collection[Any], default: Any = None) -> Any:
        """The value at `key`, or the default. Raises `UnsupportedError` for one that is not allowed."""
        value = self.values.get(key)
        compared = default if value is None else value.lower() if isinstance(value, str) else value
        if not any(type(compared) is type(each) and compared == each for each in allowed):
            raise UnsupportedError(
                f"{self.where}.{key} is {quote(value)}, which is not supported; it must be "
                f"{' or '.join(map(quote, allowed))}"
            )
        return compared

    def flag(self, key: str, default: bool = False) -> bool:
        """The boolean at `key`."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise FormatError(f"{self.where}.{key} is {quote(value)}, but must be true or false")
        return value

    def group_size(self, default: int | None = None) -> int:
        """`group_size`: inputs that share a scale, -1 for whole rows."""
        value = self.values.get("group_size")
        value = default if value is None else value
        if type(value) is not int or not (value == -1 or 1 <= value < 1 << 31):
            raise FormatError(
                f"{self.where}.group_size is {quote(value)}, but must be -1 or a positive number"
            )
        if value != -1 and value % 32:
            raise UnsupportedError(
                f"{self.where}.group_size is {value}; only whole rows and multiples of 32 are supported, "
                "because weights become blocks of 32: look for a GGUF file of the model"
            )
        return value

    def pair(self, key: str) -> tuple[int, int] | None:
        """Two positive numbers at `key`, None if it is missing or null."""
        value = self.values.get(key)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(type(each) is int and 1 <= each < 1 << 31 for each in value)
        ):
            raise FormatError(f"{self.where}.{key} is {quote(value)}, but must be two positive numbers")
        return value[0], value[1]

    def names(self, key: str) -> list[str]:
        """The list of names at `key`, empty if it is missing or null."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise FormatError(f"{self.where}.{key} is {quote(value)}, but must be a list of names")
        return value


def check_excluded(modules: Collection[str], settings: Settings, key: str, *, inside: bool = True) -> None:
    """Raises `FormatError` if a quantised module is one of those that `key` lists as not quantised.

    A name stands for the module and, if `inside`, all in it; `*` in the place of a number stands for any
    number. Other patterns are not compared: the parts in the files decide.
    """
    names = set(settings.names(key))
    for module in modules if names else ():
        words = module.split(".")
        stars = ["*" if word.isdigit() else word for word in words]
        for count in range(1 if inside else len(words), len(words) + 1):
            found = {".".join(words[:count]), ".".join(stars[:count])} & names
            if found:
                raise FormatError(
                    f"{settings.where}.{key} lists {quote(found.pop())} as not quantised, but the files hold "
                    f"parts of a quantised weight of {quote(module)}"
                )
