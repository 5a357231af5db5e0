"""Texts for tests of tokenizers: scripts, odd spaces, control characters, joined emoji, code, numbers."""

from __future__ import annotations

from random import Random

SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "Latin": ((0x41, 0x5B), (0x61, 0x7B)),
    "Latin with accents": ((0xC0, 0x180), (0x1E00, 0x1F00)),
    "Latin with combining marks": ((0x61, 0x7B), (0x300, 0x370)),
    "Greek": ((0x391, 0x3A2), (0x3B1, 0x3CA)),
    "Cyrillic": ((0x410, 0x450),),
    "Hebrew": ((0x5D0, 0x5EB),),
    "Arabic": ((0x621, 0x64B), (0x64B, 0x660)),
    "Devanagari": ((0x904, 0x950),),
    "Thai": ((0xE01, 0xE3B), (0xE40, 0xE4F)),
    "Hangul": ((0xAC00, 0xD7A4),),
    "Hangul in parts": ((0x1100, 0x1113), (0x1161, 0x1176), (0x11A8, 0x11C3)),
    "Kana": ((0x3041, 0x3097), (0x30A1, 0x30FB)),
    "Han": ((0x4E00, 0x9FA6),),
    "Han beyond the BMP": ((0x20000, 0x2A6DF),),
    "full width": ((0xFF01, 0xFF5F),),
    "mathematics": ((0x1D400, 0x1D500), (0x2200, 0x2300)),
    "emoji": ((0x1F300, 0x1F650), (0x1F680, 0x1F6D0)),
    "private use": ((0xE000, 0xF900), (0xF0000, 0xF0100)),
    "control characters": ((0x00, 0x20), (0x7F, 0xA0)),
    "noncharacters": ((0xFDD0, 0xFDF0), (0xFFFE, 0x10000), (0x10FFFE, 0x110000)),
}
"""Ranges of code points by name. Not every code point is assigned; every one is a valid character."""

SPACES = (
    *(" ", " ", "\t", "\n", "\r\n", "\n\n", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2003", "\u2009"),
    *("\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\u2060", "\ufeff", "\u2581"),
)

FIXED = (
    "Hello, world!",
    " leading, trailing ",
    "   three   spaces   ",
    "don't can't we'll I'm he'd they've it's 'quoted'",
    "ÀÉÎõü ﬁ ﬂ Å Å Å ẞ ǅ İ ı ſ",
    "e\u0301 vs. é; a\u0327\u0301 vs. a\u0301\u0327; 각 vs. \u1100\u1161\u11a8",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇨🇭 ❤️ 1️⃣ \u200d\u200d\ufe0f",
    "\ufefftext after a byte order mark",
    "right to left: \u202eabc\u202c \u2067שלום\u2069",
    "\x00\x01\x02 NUL \x00 ESC \x1b[0m DEL \x7f",
    "\ue000\uf8ff private, \U0010ffff last",
    "0 1 12 123 1234 12345 1,234.56 -7 +3.14e-10 0x1F 1/2 ½ ² ٣ Ⅻ 100%",
    "def f(x: int) -> str:\n\treturn f'{x!r}'  # comment\n\n\nclass A(B):\n    pass\n",
    'for (int i = 0; i < n; ++i) { a[i] += b[i] << 2; }\r\n/* … */ #include <stdio.h>\r\n"\\n\\t"',
    "SELECT * FROM t WHERE a='b'; -- <a href=\"x?y=1&amp;z=2\">link</a> https://example.org/a_b-c~d",
    "$$\\sum_{i=1}^{n} x_i^2 \\le \\epsilon$$ | a | b |\n|---|---|\n",
    "<|im_start|>user\n[INST] <s> </s> <unk> <pad> <0x41> <0x0A> ▁▁ Ġ Ċ Ã© [/INST]",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case",
    "Zażółć gęślą jaźń. Съешь ещё этих мягких булок. 天地玄黃 宇宙洪荒 いろはにほへと 가나다라",
)
"""Texts that random ones would not contain."""

_ORDINARY = (
    "It was a bright cold day, and the clocks of 1984 were striking thirteen; the woman's 3 dogs looked on. "
    "„Größe“ zählt nicht, sagte Müller (42): 7,5 % von 1.000 €? “No — never!”\n"
    "Быстрая лиса прыгает. 我们在这里学习语言。 ここで言葉を学ぶ。\n\n"
    "    for index, name in enumerate(names):\n        print(f'{index:>3} {name}')  # 🙂\n"
)


def sample_texts(count: int = 300, seed: int = 0) -> list[str]:
    """Returns `FIXED`, each odd space in a text, and `count` random ones; the same for the same seed."""
    random = Random(seed)
    texts = [*FIXED, *SPACES, *(f"a{space}b {space}" for space in SPACES), *"aZ0é中🙂"]
    names = list(SCRIPTS)
    for number in range(count):
        mixed = [names[number % len(names)], *random.choices(names, k=number % 3)]
        texts.append("".join(_piece(random, random.choice(mixed)) for _ in range(random.randrange(1, 9))))
    return texts


def runs(length: int = 10_000) -> list[str]:
    """Returns texts of `length` times the same character, of those that tokenizers treat specially."""
    return [character * length for character in " \n\ta0<.\x00é中🙂\u0301\u200d"]


def ordinary_text(characters: int) -> str:
    """Returns prose in some languages, and code, cut to a length."""
    return (_ORDINARY * (characters // len(_ORDINARY) + 1))[:characters]


def _piece(random: Random, script: str) -> str:
    """A word of a script, with what is around a word."""
    ranges = SCRIPTS[script]
    word = "".join(chr(random.randrange(*random.choice(ranges))) for _ in range(random.randrange(1, 8)))
    after = random.choice(
        [" ", " ", " ", "", ". ", ", ", "\n", random.choice(SPACES), str(random.randrange(10**6))]
    )
    return word + after
