"""Settings of a conversation: how they are typed, shown and refused."""

from __future__ import annotations

import pytest

from zigai_cli.conversation import setting
from zigai_cli.conversation.answer import Settings
from zigai_cli.conversation.setting import SettingError
from zigai_cli.options import Overflow, Reasoning
from zigai_core.contracts.options import SamplingOptions


@pytest.mark.parametrize(
    ("name", "typed", "option", "shown"),
    [
        ("temperature", "0.5", 0.5, "0.5"),
        ("seed", "7", 7, "7"),
        ("logit_bias", '{"7": -1}', {7: -1}, '{"7": -1}'),
        ("stop", "END", ("END",), '["END"]'),
        ("stop", '["a", "b c"]', ("a", "b c"), '["a", "b c"]'),
        ("stop", '"\\n"', ("\n",), '["\\n"]'),
    ],
)
def test_an_option_of_replies_is_set_shown_and_given_up(
    name: str, typed: str, option: object, shown: str
) -> None:
    settings = Settings()
    setting.change(name, typed, settings, Settings())
    assert settings.options()[name] == option
    assert setting.value(name, settings, SamplingOptions()) == shown
    setting.change(name, "default", settings, Settings())
    assert name not in settings.options()


def test_a_default_is_that_of_the_conversation() -> None:
    defaults = Settings(reasoning=Reasoning.HIDE, overflow=Overflow.SHIFT)
    settings = Settings(reasoning=Reasoning.SHOW, overflow=Overflow.STOP, max_tokens=3)
    for name in ("reasoning", "overflow", "max_tokens"):
        setting.change(name, "default", settings, defaults)
    assert settings == defaults


@pytest.mark.parametrize(
    ("name", "typed", "error"),
    [
        ("temp", "0", "there is no setting temp; did you mean temperature?"),
        ("temperature", "-1", "temperature"),
        ("temperature", "[" * 100_000, "the value must be JSON"),
        ("stop", "[1]", "give a text, or a list"),
        ("stop", '["', "give a text, or a list"),
        ("max_tokens", "0", "at least 1"),
        ("overflow", "x", "must be one of error, stop, shift"),
        ("markdown", "maybe", "must be on or off"),
    ],
)
def test_a_wrong_setting_changes_nothing(name: str, typed: str, error: str) -> None:
    settings = Settings()
    with pytest.raises(Exception, match=r".") as caught:
        setting.change(name, typed, settings, Settings())
    assert error in str(caught.value)
    assert isinstance(caught.value, SettingError) or name == "temperature"
    assert settings == Settings()
