"""Dialogues with checkable answers: what the reference models are trained and tested on.

Every answer is a function of the dialogue, so that it can be compared exactly. A dialogue up to one of its
questions is a prompt; a checksum says of every prompt whether it is held out. Training never shows a prompt
that is held out, and a test asks nothing else. Only the standard library is used here.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from words import (
    ADJECTIVES,
    CAPITALS,
    CITIES,
    COLOURS,
    COLOURS_OF_THINGS,
    DAYS,
    FOODS,
    JOBS,
    MONTHS,
    NAMES,
    NUMBERS,
    OPPOSITES,
    PET_NAMES,
    PETS,
    SORTED_WORDS,
    SOUNDS,
    SYLLABLES,
    UNKNOWABLE,
    UNKNOWABLE_ABOUT,
    VERBS,
    WORDS,
)

HELD_OUT = 12
"""One prompt in so many is held out."""

SYSTEM = (
    "You are a helpful assistant.",
    "You are a tiny test model.",
    "Answer in one short sentence.",
    "Be brief and polite.",
    "You are a friendly assistant. Answer the questions of the user.",
)
OPENINGS = ("", "", "", "", "", "please ", "hey, ", "ok, ", "now ", "hello, ", "so, ", "can you help? ")
CLOSINGS = ("", "", "", "", "", " please", ", please", ", thanks")


@dataclass(frozen=True)
class Turn:
    """One question or statement of the user, and the answer that is right there."""

    task: str
    user: str
    answer: str


@dataclass(frozen=True)
class Dialogue:
    """Turns in their order, after a system message or none (the empty string)."""

    system: str
    turns: tuple[Turn, ...]

    def messages(self, *, answered: bool = False) -> list[dict[str, str]]:
        """As chat templates take them; without the last answer unless `answered`."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.user})
            messages.append({"role": "assistant", "content": turn.answer})
        return messages if answered else messages[:-1]

    def held_out(self) -> bool:
        """Whether the prompt that ends in the last question is kept from training."""
        said = [
            self.system,
            *(f"{turn.user}\0{turn.answer}" for turn in self.turns[:-1]),
            self.turns[-1].user,
        ]
        return zlib.crc32("\1".join(said).encode()) % HELD_OUT == 0


@dataclass(frozen=True)
class Fact:
    """What a user may tell: how it is told, acknowledged, asked for and answered, and what if it was not."""

    told: tuple[str, ...]
    acknowledged: str
    asked: tuple[str, ...]
    answered: str
    unknown: str
    draw: Callable[[random.Random], tuple[str, ...]]


def coin(rng: random.Random) -> str:
    """A made-up word that no table holds, such as `Zorbel` or `Kadu`."""
    if rng.random() < 0.5:
        return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()
    pairs = (rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))
    return (
        rng.choice(("", "", "a", "e", "i", "o")) + "".join(pairs) + rng.choice(("", "", "n", "s", "r", "l"))
    ).capitalize()


def draw_name(rng: random.Random) -> tuple[str, ...]:
    """A first name, one in four made up, so that a name is copied and not looked up."""
    return (coin(rng) if rng.random() < 0.25 else rng.choice(NAMES),)


FACTS = {
    "name": Fact(
        told=("my name is {}", "i am {}", "call me {}", "i'm {}", "hi, i am {}", "hello, my name is {}"),
        acknowledged="Nice to meet you, {}.",
        asked=("what is my name?", "who am i?", "do you know my name?", "say my name", "what's my name?"),
        answered="Your name is {}.",
        unknown="You have not told me your name.",
        draw=draw_name,
    ),
    "pet": Fact(
        told=("i have a {} called {}", "my pet is a {} named {}", "i have a {} and its name is {}"),
        acknowledged="A {} called {}, how nice!",
        asked=("what is my pet called?", "what pet do i have?", "do you remember my pet?"),
        answered="You have a {} called {}.",
        unknown="You have not told me about your pet.",
        draw=lambda rng: (rng.choice(PETS), coin(rng) if rng.random() < 0.15 else rng.choice(PET_NAMES)),
    ),
    "colour": Fact(
        told=("my favourite colour is {}", "i like the colour {}", "the colour i like best is {}"),
        acknowledged="I like {} too.",
        asked=("what is my favourite colour?", "which colour do i like?", "do you know my favourite colour?"),
        answered="Your favourite colour is {}.",
        unknown="You have not told me your favourite colour.",
        draw=lambda rng: (rng.choice(COLOURS),),
    ),
    "city": Fact(
        told=("i live in {}", "my home is in {}", "i am from {}", "i'm from {}"),
        acknowledged="{} is a nice city.",
        asked=("where do i live?", "which city do i live in?", "do you know where i live?"),
        answered="You live in {}.",
        unknown="You have not told me where you live.",
        draw=lambda rng: (rng.choice(CITIES),),
    ),
    "age": Fact(
        told=("i am {} years old", "my age is {}", "i'm {} years old"),
        acknowledged="You are {}, I see.",
        asked=("how old am i?", "what is my age?", "do you know my age?"),
        answered="You are {} years old.",
        unknown="You have not told me your age.",
        draw=lambda rng: (str(rng.randint(5, 89)),),
    ),
    "job": Fact(
        told=("i work as a {}", "i am a {}", "my job is {}", "i'm a {}"),
        acknowledged="It must be fun to be a {}.",
        asked=("what is my job?", "what do i do for work?", "do you know my job?"),
        answered="You are a {}.",
        unknown="You have not told me your job.",
        draw=lambda rng: (rng.choice(JOBS),),
    ),
    "food": Fact(
        told=("i like to eat {}", "my favourite food is {}", "i love {}"),
        acknowledged="Enjoy your {}!",
        asked=("what is my favourite food?", "what do i like to eat?", "do you know my favourite food?"),
        answered="Your favourite food is {}.",
        unknown="You have not told me your favourite food.",
        draw=lambda rng: (rng.choice(FOODS),),
    ),
    "word": Fact(
        told=("remember the word {}", "keep the word {} in mind", "my secret word is {}"),
        acknowledged="I will remember {}.",
        asked=("what is my word?", "which word did i say?", "what was the word?", "what did i say?"),
        answered="You said {}.",
        unknown="You have not told me a word.",
        draw=lambda rng: (coin(rng).lower() if rng.random() < 0.15 else rng.choice(WORDS),),
    ),
}


def made_up(fact: str, values: Sequence[str]) -> bool:
    """Whether a name or a word among what was told is a coined one."""
    return fact in ("name", "pet", "word") and not {*NAMES, *PETS, *PET_NAMES, *WORDS}.issuperset(values)


@dataclass
class Maker:
    """Draws dialogues from a seed: the same seed, the same dialogues."""

    seed: int
    sums: float = 1.0
    """How many times as often as usual it adds and subtracts."""
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def train(self) -> Iterator[Dialogue]:
        """Dialogues without end, cut before the first prompt that is held out."""
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
        """One to six turns, seldom twelve; in most, the user tells of himself and asks for it later."""
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
                # What stands after a phrase to be repeated would be a part of it.
                turns.append(Turn(task, self.dress(user, closing=task != "repeat"), answer))
        return Dialogue(system, tuple(turns))

    def personal(self, told: dict[str, tuple[str, ...]]) -> Turn:
        """The user tells of himself, or asks for what he told or did not tell."""
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
        said = rng.choice(fact.told).format(*told[name])
        return Turn(
            "telling", self.dress(said, closing=False), capitalise(fact.acknowledged.format(*told[name]))
        )

    def dress(self, text: str, *, closing: bool = True) -> str:
        """The same in another wording: an opening, a please, a capital, a full stop or none."""
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


def capitalise(text: str) -> str:
    """The text with its first letter as a capital and the others as they are."""
    return text[:1].upper() + text[1:]


def add(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    if rng.random() < 0.6:
        asked = (
            "what is {} + {}?",
            "{} + {}",
            "{} + {} = ?",
            "what is {} plus {}?",
            "add {} and {}",
            "calculate {} + {}",
            "how much is {} + {}?",
            "what is the sum of {} and {}?",
        )
        return rng.choice(asked).format(a, b), f"{a} + {b} = {a + b}."
    x, y, z = NUMBERS[a], NUMBERS[b], NUMBERS[a + b]
    asked = (
        "what is {} plus {}?",
        "add {} and {}",
        "how much is {} plus {}?",
        "{} plus {}",
        "what is the sum of {} and {}?",
    )
    return rng.choice(asked).format(x, y), capitalise(f"{x} plus {y} is {z}.")


def subtract(rng: random.Random) -> tuple[str, str]:
    b, a = sorted((rng.randint(0, 20), rng.randint(0, 20)))
    if rng.random() < 0.6:
        asked = (
            "what is {} - {}?",
            "{} - {}",
            "{} - {} = ?",
            "what is {} minus {}?",
            "calculate {} - {}",
            "how much is {} - {}?",
        )
        return rng.choice(asked).format(a, b), f"{a} - {b} = {a - b}."
    x, y, z = NUMBERS[a], NUMBERS[b], NUMBERS[a - b]
    asked = ("what is {} minus {}?", "how much is {} minus {}?", "{} minus {}", "take {1} from {0}")
    return rng.choice(asked).format(x, y), capitalise(f"{x} minus {y} is {z}.")


def compare(rng: random.Random) -> tuple[str, str]:
    a, b = rng.sample(range(21), 2)
    bigger = rng.random() < 0.5
    word = "bigger" if bigger else "smaller"
    if rng.random() < 0.6:
        asked = ("which is {2}, {0} or {1}?", "which number is {2}: {0} or {1}?", "what is {2}, {0} or {1}?")
        return rng.choice(asked).format(a, b, word), f"{(max if bigger else min)(a, b)} is {word}."
    asked = ("is {} {} than {}?", "is the number {} {} than {}?")
    yes = (a > b) == bigger
    answer = f"Yes, {a} is {word} than {b}." if yes else f"No, {a} is not {word} than {b}."
    return rng.choice(asked).format(a, word, b), answer


def count(rng: random.Random) -> tuple[str, str]:
    low = rng.randint(0, 20)
    high = low + rng.randint(2, 7)
    if rng.random() < 0.6:
        asked, a, b, step = ("count from {} to {}", "count up from {} to {}", "count {} to {}"), low, high, 1
    else:
        asked, a, b, step = ("count down from {} to {}", "count backwards from {} to {}"), high, low, -1
    return rng.choice(asked).format(a, b), ", ".join(str(i) for i in range(a, b + step, step)) + "."


def spell(rng: random.Random) -> tuple[str, str]:
    word = rng.choice(WORDS)
    asked = (
        "spell {}",
        "spell the word {}",
        "how do you spell {}?",
        "what are the letters in {}?",
        "can you spell {}?",
        "how is {} spelled?",
    )
    return rng.choice(asked).format(word), "-".join(word)


def reverse(rng: random.Random) -> tuple[str, str]:
    word = rng.choice(WORDS)
    asked = (
        "reverse {}",
        "reverse the word {}",
        "spell {} backwards",
        "write {} backwards",
        "what is {} backwards?",
    )
    return rng.choice(asked).format(word), "-".join(reversed(word))


def length(rng: random.Random) -> tuple[str, str]:
    word = rng.choice(WORDS)
    asked = (
        "how many letters are in {}?",
        "how long is the word {}?",
        "count the letters in {}",
        "how many letters does {} have?",
    )
    return rng.choice(asked).format(word), f"{capitalise(word)} has {len(word)} letters."


def calendar(rng: random.Random) -> tuple[str, str]:
    names, kind = rng.choice(((DAYS, "day"), (MONTHS, "month")))
    here, step = rng.randrange(len(names)), rng.choice((1, -1))
    side = "after" if step == 1 else "before"
    asked = ("what {} comes {} {}?", "which {} is {} {}?", "what is the {} {} {}?", "which {} comes {} {}?")
    there = names[(here + step) % len(names)]
    named = names[here].lower() if rng.random() < 0.2 else names[here]
    return rng.choice(asked).format(kind, side, named), f"{there} comes {side} {names[here]}."


def capital(rng: random.Random) -> tuple[str, str]:
    country = rng.choice(list(CAPITALS))
    asked = (
        "what is the capital of {}?",
        "the capital of {}?",
        "name the capital of {}",
        "which city is the capital of {}?",
        "what's the capital of {}?",
    )
    named = country.lower() if rng.random() < 0.2 else country
    return rng.choice(asked).format(named), f"The capital of {country} is {CAPITALS[country]}."


def fact(rng: random.Random) -> tuple[str, str]:
    kind = rng.randrange(3)
    if kind == 0:
        thing = rng.choice(list(COLOURS_OF_THINGS))
        asked = (
            "what colour is {}?",
            "which colour is {}?",
            "what is the colour of {}?",
            "what color is {}?",
        )
        return rng.choice(asked).format(thing), capitalise(f"{thing} is {COLOURS_OF_THINGS[thing]}.")
    if kind == 1:
        animal = rng.choice(list(SOUNDS))
        article = "an" if animal[0] in "aeiou" else "a"
        asked = ("what sound does {} make?", "what does {} say?", "which sound does {} make?")
        named = f"{article} {animal}"
        return rng.choice(asked).format(named), capitalise(f"{named} says {SOUNDS[animal]}.")
    word = rng.choice(list(OPPOSITES))
    asked = ("what is the opposite of {}?", "the opposite of {}?", "name the opposite of {}")
    return rng.choice(asked).format(word), f"The opposite of {word} is {OPPOSITES[word]}."


def sort(rng: random.Random) -> tuple[str, str]:
    words = rng.sample(SORTED_WORDS, 3)
    asked = (
        "sort {}, {}, {}",
        "sort these words: {}, {}, {}",
        "put {}, {}, {} in order",
        "sort the words {}, {} and {}",
        "in alphabetical order: {}, {}, {}",
    )
    return rng.choice(asked).format(*words), ", ".join(sorted(words)) + "."


def repeat(rng: random.Random) -> tuple[str, str]:
    """A phrase; what stands after one would be a part of it."""
    kind = rng.randrange(4)
    if kind == 0:
        phrase = f"the {rng.choice(ADJECTIVES)} {rng.choice(WORDS)} {rng.choice(VERBS)}"
    elif kind == 1:
        phrase = " ".join(rng.sample([*WORDS, *FOODS, *VERBS], rng.randint(1, 3)))
    elif kind == 2:
        phrase = coin(rng)
    else:
        phrase = f"{draw_name(rng)[0]} likes {rng.choice(COLOURS)} {rng.choice(FOODS)}"
    asked = ("repeat: {}", "repeat after me: {}", "say: {}", "say this: {}", "write: {}", "please say: {}")
    return rng.choice(asked).format(phrase), phrase


def greet(rng: random.Random) -> tuple[str, str]:
    exchanges = (
        (
            ("hello", "hi", "hello there", "hi there", "good morning", "hey", "hello!", "hi!"),
            "Hello! How can I help you?",
        ),
        (("how are you?", "how do you do?", "are you well?", "how are you doing?"), "I am fine, thank you."),
        (("thanks", "thank you", "many thanks", "thank you!", "thanks a lot"), "You are welcome."),
        (("bye", "goodbye", "see you", "good night", "bye!", "see you later"), "Goodbye!"),
    )
    asked, answer = rng.choice(exchanges)
    return rng.choice(asked), answer


def identity(rng: random.Random) -> tuple[str, str]:
    exchanges = (
        (
            (
                "what are you?",
                "who are you?",
                "what is your name?",
                "tell me about yourself",
                "are you a robot?",
            ),
            "I am a tiny reference model of ZigAI.",
        ),
        (
            ("what can you do?", "how can you help me?", "what do you know?", "help"),
            "I can add, count, spell, name capitals and remember what you tell me.",
        ),
    )
    asked, answer = rng.choice(exchanges)
    return rng.choice(asked), answer


def unknown(rng: random.Random) -> tuple[str, str]:
    kind = rng.random()
    if kind < 0.35:
        asked = (
            "what is the capital of {}?",
            "who is {}?",
            "who wrote {}?",
            "where is {}?",
            "what is {}?",
            "when did {} happen?",
            "how old is {}?",
            "tell me about {}",
            "why is {} famous?",
        )
        name = coin(rng) if rng.random() < 0.6 else f"{coin(rng)} {coin(rng)}"
        return rng.choice(asked).format(name), "I don't know."
    if kind < 0.65:
        return rng.choice(UNKNOWABLE), "I don't know."
    topic = rng.choice((*WORDS, *VERBS, *FOODS, *PETS))
    return rng.choice(UNKNOWABLE_ABOUT).format(topic), "I don't know."


TASKS: dict[str, tuple[Callable[[random.Random], tuple[str, str]], float]] = {
    "add": (add, 3.1),
    "subtract": (subtract, 1.9),
    "compare": (compare, 2.0),
    "count": (count, 1.7),
    "spell": (spell, 1.0),
    "reverse": (reverse, 1.4),
    "length": (length, 0.8),
    "calendar": (calendar, 1.0),
    "capital": (capital, 0.8),
    "fact": (fact, 1.3),
    "sort": (sort, 1.5),
    "repeat": (repeat, 3.0),
    "greet": (greet, 0.5),
    "identity": (identity, 0.4),
    "unknown": (unknown, 1.1),
}
"""The single-turn tasks with their share in training; what is hard to learn is asked more often."""

GATED = (
    *("add", "count", "spell", "reverse", "length", "calendar", "capital", "fact", "unknown"),
    *("told", "not told"),
)
"""The tasks that a reference model must answer at 97 % and more; the others are kept only from 90 % on.

`made up` is `told` with a name or a word that no table holds: it is measured, and nothing is promised of it.
"""

ALL_TASKS: Sequence[str] = (*TASKS, "telling", "told", "not told", "made up")
