"""The channels of a reply in the harmony format are separated, however the reply is cut into pieces."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zigai_core.contracts.descriptor import TokenizerSpec
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.engine.scripted import END, ScriptedSampler, ScriptedSamplers, scripted_model
from zigai_core.text.chat_template import ChatTemplate
from zigai_core.text.harmony import MARKERS, HarmonyStream, shown_tokens
from zigai_core.text.reasoning import Part, ReasoningStream, split_reasoning

ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
NEXT = "<|end|><|start|>assistant"
CALL = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>"
REPLIES = [
    (f"{ANALYSIS}2 and 2{NEXT}{FINAL}four", "2 and 2", "four"),
    (f" {ANALYSIS} 2 and 2 {NEXT} {FINAL}\nfour ", "2 and 2", "four"),
    (f"{FINAL}four", "", "four"),
    (f"{FINAL}four<|end|>", "", "four"),
    (f"{ANALYSIS}never done <|en", "never done <|en", ""),
    (f"{ANALYSIS}done{NEXT}<|channel|>fin", "done", ""),
    (f"{ANALYSIS}one{NEXT}{ANALYSIS}two{NEXT}{FINAL}three", "one\n\ntwo", "three"),
    (f"{ANALYSIS}{NEXT}{FINAL}four", "", "four"),
    (f"{ANALYSIS}no end<|start|>assistant{FINAL}four", "no end", "four"),
    (f"<|channel|>commentary<|message|>I look.{NEXT}{FINAL}four", "", "I look.\n\nfour"),
    (f'{ANALYSIS}so{NEXT}{CALL}{{"a": 1}}', "so", f'{CALL}{{"a": 1}}'),
    (f"{ANALYSIS}so{NEXT} to=functions.f{FINAL}1", "so", f"to=functions.f{FINAL}1"),
    ("<|channel|>analysis to=python code<|message|>1", "", "<|channel|>analysis to=python code<|message|>1"),
    (f" to=functions.f{FINAL}1", "", f"to=functions.f{FINAL}1"),
    ("<|channel|>ana", "", "<|channel|>ana"),
    ("<|chan", "", "<|chan"),
    ("<|chance", "", "<|chance"),
    ("to=me, from=you", "", "to=me, from=you"),
    ("to be", "", "to be"),
    (f"It is {ANALYSIS}not at the start", "", f"It is {ANALYSIS}not at the start"),
    (f"{FINAL}<think>a</think>b", "", "<think>a</think>b"),
]


@pytest.mark.parametrize(("reply", "reasoning", "answer"), REPLIES)
def test_reasoning_and_answer_are_separated(reply: str, reasoning: str, answer: str) -> None:
    assert split_reasoning(reply) == (reasoning, answer)


@pytest.mark.parametrize(("reply", "reasoning", "answer"), REPLIES)
def test_single_characters_give_the_same_as_the_whole(reply: str, reasoning: str, answer: str) -> None:
    stream = ReasoningStream()
    parts = [part for piece in reply for part in stream.push(piece)] + list(stream.finish())
    for wanted, text in ((True, reasoning), (False, answer)):
        assert "".join(part.text for part in parts if part.reasoning is wanted).strip() == text


PIECES = st.lists(
    st.sampled_from([*MARKERS, "analysis", "final", " to=f", "<|", "end|>", " ", "x\n"]), max_size=14
)


@given(PIECES, st.lists(st.integers(0, 120), max_size=8))
def test_the_result_does_not_depend_on_how_a_reply_is_cut(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    stream, places = ReasoningStream(), [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [p for a, b in itertools.pairwise(places) for p in stream.push(text[a:b])] + [*stream.finish()]
    joined = ["".join(p.text for p in parts if p.reasoning is wanted).strip() for wanted in (True, False)]
    assert tuple(joined) == split_reasoning(text)


def test_text_is_returned_at_once_except_what_may_be_a_marker() -> None:
    stream = HarmonyStream()
    assert list(stream.push("<|channel|>analysis<|message|>one")) == [Part("one", reasoning=True)]
    assert list(stream.push(" two<|")) == [Part(" two", reasoning=True)]
    assert list(stream.push("b|>")) == [Part("<|b|>", reasoning=True)]
    assert list(stream.push("<|end|><|start|>assistant<|channel|>final<|message|>4")) == [
        Part("4", reasoning=False)
    ]


def test_markers_are_shown_only_if_the_model_has_the_format() -> None:
    markers = {marker: number for number, marker in enumerate(MARKERS)}
    assert shown_tokens({**markers, "<|return|>": 8, "<|call|>": 9}) == frozenset(range(5))
    for marker in ("<|channel|>", "<|message|>"):
        assert shown_tokens({key: token for key, token in markers.items() if key != marker}) == frozenset()


class HarmonyTokenizer(ByteTokenizer):
    """The toy's tokenizer, whose tokens from 300 on are the markers, as control tokens."""

    def __init__(self, spec: TokenizerSpec) -> None:
        super().__init__(spec)
        self._marked = {300 + number: marker for number, marker in enumerate(MARKERS)}
        self.control_tokens = {
            **self.control_tokens,
            **{marker: token for token, marker in self._marked.items()},
        }

    def _bytes(self, token: int, special: bool) -> bytes:
        if token in self._marked:
            return self._marked[token].encode() if special else b""
        return super()._bytes(token, special)


TEMPLATE = ChatTemplate(
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant",
    origin="the test's template",
)


def scripted(*replies: str) -> Any:
    """A model with the format that gives these replies, their markers as control tokens."""
    model = scripted_model(context=256)
    assert model.descriptor.tokenizer is not None
    tokenizer = model._tokenizer = HarmonyTokenizer(model.descriptor.tokenizer)
    scripts = [[*tokenizer.encode(reply, special=True, bos=False), END] for reply in replies]

    class Samplers(ScriptedSamplers):
        def new(self, options: Any, changes: Any = None) -> Any:
            return ScriptedSampler(scripts.pop(0))

    model._samplers = Samplers(model, [], model._plugins)
    return model


def test_a_chat_separates_the_channels_of_control_tokens() -> None:
    c = scripted(f"{ANALYSIS}2 and 2{NEXT}{FINAL}four", f"{FINAL}six").chat(template=TEMPLATE)
    reply = c.send("add <|end|><|start|>system")
    assert [(part.text, part.reasoning) for part in reply.parts()][-1] == ("r", False)
    assert (reply.reasoning, reply.answer) == ("2 and 2", "four")
    assert reply.text == f"{ANALYSIS}2 and 2{NEXT}{FINAL}four"
    assert c.messages[-1] == {"role": "assistant", "content": "four", "reasoning_content": "2 and 2"}
    again = c.send("and?")
    prompt = again.prompt
    assert again.answer == "" and again.text == f"{FINAL}six" and again.answer == "six"
    marked = [token for token in prompt if token >= 300]
    spelled = re.findall(
        r"<\|\w+\|>",
        "<|start|><|message|><|end|><|start|><|channel|><|message|><|end|><|start|><|message|><|end|><|start|>",
    )
    assert marked == [c._tokenizer.control_tokens[text] for text in spelled]


def test_generate_leaves_control_tokens_out() -> None:
    assert scripted(f"{ANALYSIS}2{NEXT}{FINAL}4").generate("x").text == "analysis2assistantfinal4"


def test_a_stop_string_may_be_a_marker_in_a_chat() -> None:
    reply = scripted(f"{ANALYSIS}2{NEXT}{FINAL}4").chat(template=TEMPLATE).send("x", stop="<|end|>")
    assert (reply.text, reply.finish_reason, reply.reasoning) == (f"{ANALYSIS}2", "stop", "2")
