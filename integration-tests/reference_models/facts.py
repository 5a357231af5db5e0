"""Facts that a user states in a dialogue and asks for later."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wording import coin, draw_name
from words import CITIES, COLOURS, FOODS, JOBS, NAMES, PET_NAMES, PETS, WORDS


@dataclass(frozen=True)
class Fact:
    """A kind of fact: wordings of the statement, its acknowledgement, the question, and both answers to it.

    `unknown` is the answer if the fact was not stated. `draw` draws the values for the placeholders.
    """

    told: tuple[str, ...]
    acknowledged: str
    asked: tuple[str, ...]
    answered: str
    unknown: str
    draw: Callable[[random.Random], tuple[str, ...]]


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
    """True if a stated name or word is an invented one, which is in no table."""
    return fact in ("name", "pet", "word") and not {*NAMES, *PETS, *PET_NAMES, *WORDS}.issuperset(values)
