"""Dialogues with exact answers, for training and testing the reference models.

Every answer is a function of the dialogue, so that it can be compared exactly. A dialogue up to one of its
questions is a prompt, and a checksum of the prompt decides if it is held out. Training data contains no
held-out prompt, tests use only those. This module and those it imports use only the standard library.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from facts import FACTS, made_up
from tasks import TASKS
from wording import capitalise

HELD_OUT = 12
"""One prompt in this many is held out."""


SYSTEM = (
    "You are a helpful assistant.",
    "You are a tiny test model.",
    "Answer in one short sentence.",
    "Be brief and polite.",
    "You are a friendly assistant. Answer the questions of the user.",
)


OPENINGS = ("", "", "", "", "", "please ", "hey, ", "ok, ", "now ", "hello, ", "so, ", "can you help? ")


CLOSINGS = ("", "", "", "", "", " please", ", please", ", thanks")


GATED = (
    *("add", "count", "spell", "reverse", "length", "calendar", "capital", "fact", "unknown"),
    *("told", "not told"),
)
"""Tasks with a required accuracy of 97 %. The other tasks require 90 %, except `made up`.

`made up` is `told` with a name or a word that is in no table; its accuracy is only measured.
"""


ALL_TASKS: Sequence[str] = (*TASKS, "telling", "told", "not told", "made up")


@dataclass(frozen=True)
class Turn:
    """One question or statement of the user, and the right answer."""

    task: str
    user: str
    answer: str


@dataclass(frozen=True)
class Dialogue:
    """A system message, or an empty string for none, and the turns in order."""

    system: str
    turns: tuple[Turn, ...]

    def messages(self, *, answered: bool = False) -> list[dict[str, str]]:
        """Messages for a chat template; without the last answer unless `answered`."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.user})
            messages.append({"role": "assistant", "content": turn.answer})
        return messages if answered else messages[:-1]

    def held_out(self) -> bool:
        """True if the prompt that ends in the last question is held out of training."""
        parts = [
            self.system,
            *(f"{turn.user}\0{turn.answer}" for turn in self.turns[:-1]),
            self.turns[-1].user,
        ]
        return zlib.crc32("\1".join(parts).encode()) % HELD_OUT == 0


@dataclass
class Maker:
    """Generates random dialogues. Equal seeds give equal dialogues."""

    seed: int
    sums: float = 1.0
    """Factor on the weights of the tasks `add` and `subtract`."""
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def train(self) -> Iterator[Dialogue]:
        """An endless iterator of dialogues, each cut before its first held-out prompt."""
        while True:
            dialogue = self.dialogue()
            kept = 0
            for length in range(1, len(dialogue.turns) + 1):
                if Dialogue(dialogue.system, dialogue.turns[:length]).held_out():
                    break
                kept = length
            if kept:
                yield Dialogue(dialogue.system, dialogue.turns[:kept])

    def test(self, task: str) -> Dialogue:
        """A dialogue whose prompt is held out and whose last turn is of this task."""
        while True:
            dialogue = self.dialogue()
            for length in range(len(dialogue.turns), 0, -1):
                cut = Dialogue(dialogue.system, dialogue.turns[:length])
                if cut.turns[-1].task == task and cut.held_out():
                    return cut

    def dialogue(self) -> Dialogue:
        """Draw a dialogue of one to six turns, rarely up to twelve. In most the user states facts."""
        rng = self.rng
        system = rng.choice(SYSTEM) if rng.random() < 0.1 else ""
        length = rng.randint(7, 12) if rng.random() < 0.03 else rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6))
        personal = rng.random() < 0.75
        told: dict[str, tuple[str, ...]] = {}
        turns: list[Turn] = []
        names = list(TASKS)
        weights = [
            weight * (self.sums if name in ("add", "subtract") else 1) for name, (_, weight) in TASKS.items()
        ]
        for _ in range(length):
            if personal and rng.random() < 0.58:
                turns.append(self.personal(told))
            else:
                task = rng.choices(names, weights)[0]
                user, answer = TASKS[task][0](rng)
                # A closing after a phrase to be repeated would be part of the phrase.
                turns.append(Turn(task, self.dress(user, closing=task != "repeat"), answer))
        return Dialogue(system, tuple(turns))

    def personal(self, told: dict[str, tuple[str, ...]]) -> Turn:
        """Draw a turn in which the user states a fact, or asks for one that was stated or was not.

        `told`: the values stated so far, by fact; a new one is added.
        """
        rng = self.rng
        if told and rng.random() < 0.75:
            name = rng.choice(list(told))
            fact = FACTS[name]
            task = "made up" if made_up(name, told[name]) else "told"
            return Turn(task, self.dress(rng.choice(fact.asked)), fact.answered.format(*told[name]))
        name = rng.choice([*FACTS, "name", "word", "word"])
        fact = FACTS[name]
        if name not in told and rng.random() < 0.25:
            return Turn("not told", self.dress(rng.choice(fact.asked)), fact.unknown)
        told[name] = fact.draw(rng)
        statement = rng.choice(fact.told).format(*told[name])
        return Turn(
            "telling", self.dress(statement, closing=False), capitalise(fact.acknowledged.format(*told[name]))
        )

    def dress(self, text: str, *, closing: bool = True) -> str:
        """Vary the text at random: an opening, a closing such as "please", a capital letter, punctuation."""
        rng = self.rng
        opening, end = rng.choice(OPENINGS), rng.choice(CLOSINGS) if closing else ""
        mark = text[-1] if text[-1] in "?.!" else ""
        body = text[: len(text) - len(mark)]
        if mark == "?" and rng.random() < 0.15:
            mark = ""
        elif not mark and closing and rng.random() < 0.2:
            mark = "."
        text = opening + body + end + mark
        return capitalise(text) if rng.random() < 0.6 else text
