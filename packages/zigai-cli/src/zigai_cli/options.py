"""The options that several commands share, each once.

Those of loading are made from the fields of `LoadOptions`, by `zigai_cli.load_options`. Defaults of sampling
stand in `zigai_core.contracts.options`, which is not imported to show help; the help's figures are held
against it by a test.
"""

from __future__ import annotations

import json
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from zigai_core.contracts.options import SamplingOptions


class Overflow(StrEnum):
    """What to do when the context is full."""

    ERROR = "error"
    STOP = "stop"
    SHIFT = "shift"


class Reasoning(StrEnum):
    """What becomes of the reasoning before an answer."""

    DIM = "dim"
    SHOW = "show"
    HIDE = "hide"


class Speculate(StrEnum):
    """Who guesses ahead without a model of its own."""

    OFF = "off"
    NGRAM = "ngram"


# `Optional`, not `| None`: typer reads these at run time, and its older versions know only this form.
Model = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--model",
        "-m",
        metavar="PATH",
        help="The model's file.",
        show_default="the small one that comes with zigai",
    ),
]
Temperature = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(metavar="T", help="Randomness; 0 takes the likeliest token.", show_default="0.8"),
]
TopK = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="K", help="Draw from the K likeliest tokens; 0: all.", show_default="40"),
]
TopP = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(metavar="P", help="Draw from the likeliest that together reach P.", show_default="0.95"),
]
MinP = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        metavar="P", help="Leave out what is less than P times as likely as the best.", show_default="0.05"
    ),
]
RepeatPenalty = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(metavar="R", help="Makes recent tokens less likely; 1 is off.", show_default="1.0"),
]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", help="The same seed gives the same text.", show_default="a fresh one"),
]
SamplingOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--sampling",
        metavar="NAME=JSON",
        help="A further sampling option, such as typical_p=0.9, dry_multiplier=0.8, xtc_probability=0.5 or "
        "mirostat=2; may be given several times.",
    ),
]
MaxTokens = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", min=1, help="Tokens in a reply, at most.", show_default="as the context holds"),
]
OverflowChoice = Annotated[
    Overflow,
    typer.Option(help="When the context is full: fail, end the reply there, or drop the oldest tokens."),
]
SpeculateChoice = Annotated[
    Speculate,
    typer.Option(help="Guess ahead what has been there before: the same text, faster where it repeats."),
]
Draft = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="PATH", help="A smaller model of the same vocabulary that guesses ahead."),
]
TemplateKeywords = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--template-keyword",
        metavar="NAME=JSON",
        help="A further variable of the template, such as enable_thinking=false; may be given several times.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def sampling(
    *,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repeat_penalty: float | None,
    seed: int | None,
    further: list[str] | None = None,
) -> SamplingOptions:
    """The options that were given, over core's defaults; a value out of range is a usage error.

    `further` are fields of `SamplingOptions` as `NAME=JSON`.
    """
    from zigai_core.contracts.errors import SamplingError
    from zigai_core.contracts.options import SamplingOptions

    wanted = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "seed": seed,
    }
    given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    known = [field.name for field in fields(SamplingOptions)]
    for part in further or ():
        name, sign, text = part.partition("=")
        if not sign or name not in known:
            raise typer.BadParameter(f"--sampling {part}: give NAME=JSON, where NAME is {', '.join(known)}")
        if name in given:
            raise typer.BadParameter(f"--sampling {part}: {name} is given twice")
        given[name] = _sampling_value(name, text)
    try:
        return SamplingOptions(**given)
    except SamplingError as error:
        raise typer.BadParameter(str(error)) from error


def _sampling_value(name: str, text: str) -> Any:
    try:
        value = json.loads(text)
        if name == "logit_bias":
            return {int(token): bias for token, bias in value.items()}
    except (ValueError, AttributeError) as error:
        raise typer.BadParameter(
            f'--sampling {name}={text}: the value must be JSON, such as 0.5, ["a"] or {{"7": -1}}'
        ) from error
    return tuple(value) if isinstance(value, list) else value


def template_keywords(given: list[str] | None) -> dict[str, Any]:
    """The values by name; what is no JSON is a text."""
    return pairs("--template-keyword", given)


def pairs(option: str, given: list[str] | None) -> dict[str, Any]:
    """Values by name out of `NAME=VALUE`; what is no JSON is a text."""
    values: dict[str, Any] = {}
    for part in given or ():
        name, sign, value = part.partition("=")
        if not sign or not name.isidentifier():
            raise typer.BadParameter(f"{option} {part}: give NAME=VALUE, the value as JSON or as text")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values
