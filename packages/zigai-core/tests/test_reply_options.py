"""Options of a reply: wrong ones are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from zigai_core.contracts.errors import SamplingError, UnsupportedError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.testing.engine.scripted import scripted_model


@pytest.mark.parametrize("stop", [5, [5], [""], (text for text in "ab")])
def test_stop_is_texts(stop: Any) -> None:
    with pytest.raises(SamplingError, match="stop must be a list of texts"):
        scripted_model().generate("x", stop=stop)


def test_no_stop_strings_may_be_none() -> None:
    assert scripted_model("abc").generate("x", stop=None).text == "abc"


@pytest.mark.parametrize("deadline", ["5", float("nan"), float("inf"), True])
def test_a_deadline_is_a_number_of_seconds(deadline: Any) -> None:
    with pytest.raises(
        UnsupportedError, match="deadline must be a number of seconds of at least 0, or None, not"
    ):
        scripted_model().generate("x", deadline=deadline)


@pytest.mark.parametrize("priority", ["5", 1.5, None, True])
def test_a_priority_is_a_whole_number(priority: Any) -> None:
    with pytest.raises(UnsupportedError, match="priority must be a whole number, not"):
        scripted_model().generate("x", priority=priority)


def test_sampling_is_options() -> None:
    with pytest.raises(SamplingError, match=r"sampling must be SamplingOptions, not \{'seed': 1\}"):
        scripted_model().generate("x", sampling={"seed": 1})


@pytest.mark.parametrize("name", ["like", "after", "shift", "end_ids", "changes", "prompt_"])
def test_what_is_private_is_no_option(name: str) -> None:
    with pytest.raises(SamplingError, match=f"there is no option '{name}'"):
        scripted_model().generate("x", **{name: 5})


def test_replies_count_the_seed_up_wherever_it_is_given() -> None:
    options = SamplingOptions(seed=5, temperature=1.5)
    model = scripted_model()
    assert [made.seed for made in model.replies("ab", 3, sampling=options, max_tokens=1)] == [5, 6, 7]
    assert [made.seed for made in model.replies("ab", 2, seed=8, sampling=options)] == [8, 9]
    assert len({made.seed for made in model.replies("ab", 3, sampling=SamplingOptions())}) == 3
    for wrong in ("a", 1.5, True):
        with pytest.raises(SamplingError, match="seed must be a whole number"):
            model.replies("ab", 2, seed=wrong)  # type: ignore[arg-type]


def test_a_negative_deadline_is_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedError, match=r"deadline must be a number of seconds of at least 0, .* not -1"
    ):
        scripted_model("yes").generate("hi", deadline=-1)
