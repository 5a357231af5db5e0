"""Random words and names, and capital letters."""

from __future__ import annotations

import random

from words import NAMES, SYLLABLES


def coin(rng: random.Random) -> str:
    """Invent a word that is in no table, such as `Zorbel` or `Kadu`."""
    if rng.random() < 0.5:
        return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()
    pairs = (rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))
    return (
        rng.choice(("", "", "a", "e", "i", "o")) + "".join(pairs) + rng.choice(("", "", "n", "s", "r", "l"))
    ).capitalize()


def draw_name(rng: random.Random) -> tuple[str, ...]:
    """Draw a first name. One in four is invented, so that the model learns to copy names."""
    return (coin(rng) if rng.random() < 0.25 else rng.choice(NAMES),)


def capitalise(text: str) -> str:
    """The text with a capital first letter and the rest unchanged."""
    return text[:1].upper() + text[1:]
