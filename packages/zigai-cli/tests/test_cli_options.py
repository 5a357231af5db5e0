"""Sampling options on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runner import zig_ai

from zigai_cli import options
from zigai_core.api.model import Model
from zigai_core.api.samplers import Samplers
from zigai_core.contracts.options import SamplingOptions

pytestmark = pytest.mark.usefixtures("plugins")


def test_help_states_the_defaults_of_core() -> None:
    text = " ".join(zig_ai("generate", "--help").stdout.split())
    for name in ("temperature", "top_k", "top_p", "min_p", "repeat_penalty"):
        following = text.split("--" + name.replace("_", "-"))[1]
        assert following.split("[default: ")[1].startswith(
            f"(the model's own, else {getattr(SamplingOptions(), name)})"
        ), name


def test_only_given_sampling_options_are_returned() -> None:
    given = options.sampling(
        temperature=0.5, top_k=None, top_p=None, min_p=None, repeat_penalty=None, seed=None
    )
    assert given == {"temperature": 0.5}


def test_every_sampling_option_can_be_given_by_name() -> None:
    none: dict[str, Any] = dict.fromkeys(("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed"))
    further = [
        *("typical_p=0.9", "mirostat=2", 'dry_sequence_breakers=["a", ":"]', 'logit_bias={"7": -1.5}'),
        'steps=["logit_bias", "temperature"]',
    ]
    assert options.sampling(**none, further=further) == {
        "typical_p": 0.9,
        "mirostat": 2,
        "dry_sequence_breakers": ("a", ":"),
        "logit_bias": {7: -1.5},
        "steps": ("logit_bias", "temperature"),
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("typical_p=2", "typical_p must be a number within 0..1, not 2"),
        ("typicalp=0.5", "NAME is one of temperature, top_k"),
        ("typical_p", "give NAME=JSON"),
        ("typical_p=much", "the value must be JSON"),
        ("logit_bias=[1]", "the value must be JSON"),
        ("seed=4", "seed is given twice"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "chat"])
def test_an_invalid_sampling_option_is_wrong_usage(model: Path, command: str, given: str, words: str) -> None:
    run = zig_ai(command, "-m", model, "--seed", 3, "--sampling", given, input="a")
    assert run.exit_code == 2
    assert words in " ".join(run.stderr.replace("│", " ").split())


@pytest.mark.parametrize("command", [["generate", "hi"], ["chat"]])
def test_the_defaults_of_the_file_hold_for_what_is_not_given(
    make_model: Callable[..., Path], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[SamplingOptions] = []
    new = Samplers.new

    def noted(self: Samplers, options: SamplingOptions, changes: Any = None) -> Any:
        sampler = new(self, options, changes)
        used.append(sampler.options)
        return sampler

    monkeypatch.setattr(Samplers, "new", noted)
    path = make_model(sampling={"temperature": 0.6, "top_k": 20})
    assert zig_ai(*command, "-m", path, "--top-k", 7, "--seed", 3, input="hi").exit_code == 0
    assert used == [SamplingOptions(temperature=0.6, top_k=7, seed=3)]


def test_a_template_keyword_cannot_be_a_parameter_of_a_chat(model: Path) -> None:
    parameters = inspect.signature(Model.chat).parameters.values()
    assert {each.name for each in parameters if each.kind is not each.VAR_KEYWORD} == options.OF_CHATS
    for name in options.OF_CHATS:
        result = zig_ai("chat", "-m", model, "--template-keyword", f"{name}=1", "hi")
        assert result.exit_code == 2
        assert f"--template-keyword {name}: is no variable of a template" in " ".join(result.stderr.split())
