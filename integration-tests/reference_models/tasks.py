"""Single-turn tasks. Each function draws a question and its right answer."""

from __future__ import annotations

import random
from collections.abc import Callable

from wording import capitalise, coin, draw_name
from words import (
    ADJECTIVES,
    CAPITALS,
    COLOURS,
    COLOURS_OF_THINGS,
    DAYS,
    FOODS,
    MONTHS,
    NUMBERS,
    OPPOSITES,
    PETS,
    SORTED_WORDS,
    SOUNDS,
    UNKNOWABLE,
    UNKNOWABLE_ABOUT,
    VERBS,
    WORDS,
)


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
    """Draw a phrase to be repeated, at the end of the question."""
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
"""The single-turn tasks with their weights in training; tasks that are hard to learn have more weight."""
