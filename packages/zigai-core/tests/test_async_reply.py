"""Replies in an event loop: the engine's thread computes them, and nothing blocks the loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from zigai_core.contracts.errors import ChatBusyError, PluginError
from zigai_core.testing.engine.scripted import scripted_model
from zigai_core.text.chat_template import ChatTemplate

TEMPLATE = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", origin="the test's template")


def test_a_reply_is_read_as_it_comes() -> None:
    async def run() -> tuple[list[str], Any]:
        made = scripted_model("aé漢🙂").agenerate("x")
        return [piece async for piece in made], made.reply.finish_reason

    assert asyncio.run(run()) == (["a", "é", "漢", "🙂"], "end")


def test_a_reply_may_be_awaited_and_many_are_computed_together() -> None:
    prompts = ["ab", "hello", "x" * 20, "?"]
    alone = [scripted_model().generate(p, temperature=0, max_tokens=15).text for p in prompts]

    async def run() -> list[str]:
        model = scripted_model()
        return list(
            await asyncio.gather(*(model.agenerate(p, temperature=0, max_tokens=15) for p in prompts))
        )

    assert asyncio.run(run()) == alone


def test_leaving_the_block_closes_the_reply() -> None:
    async def run() -> tuple[Any, int]:
        model = scripted_model("abcdef" * 60, context=400)
        async with model.agenerate("x") as made:
            async for _ in made:
                break
        for _ in range(100):
            if not model.engine.stats().running:
                break
            await asyncio.sleep(0.02)
        return made.reply.finish_reason, model.engine.stats().running

    assert asyncio.run(run()) == ("cancelled", 0)


def test_a_cancelled_task_leaves_the_model_usable() -> None:
    async def run() -> str:
        model = scripted_model("a" * 60, "next")
        task = asyncio.ensure_future(model.agenerate("x")._text())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await model.agenerate("y")

    assert asyncio.run(run()) == "next"


def test_the_loop_is_not_blocked_while_a_reply_is_computed() -> None:
    async def run() -> int:
        ticks = 0
        made = asyncio.ensure_future(scripted_model("a" * 80, context=200).agenerate("x")._text())
        while not made.done():
            ticks += 1
            await asyncio.sleep(0)
        assert await made == "a" * 80
        return ticks

    assert asyncio.run(run()) > 10


def test_an_error_in_the_request_is_raised() -> None:
    class Broken:
        def edit(self, row: Any) -> None:
            raise ValueError("broken")

    async def run() -> str:
        model = scripted_model()
        broken = model.sampler()
        broken._rows.insert(0, ("broken", Broken()))
        model._samplers.new = lambda *_: broken  # type: ignore[method-assign]
        return await model.agenerate("x", max_tokens=3)

    with pytest.raises(PluginError, match="broken"):
        asyncio.run(run())


def test_a_chat_may_be_asynchronous() -> None:
    async def run() -> None:
        one = "one" * 90
        chat = scripted_model(one, "two", context=400).chat(template=TEMPLATE)
        reply = chat.asend("hi")
        with pytest.raises(ChatBusyError):
            chat.asend("too early")
        assert await reply == one
        assert reply.reply.answer == one
        assert await chat.asend("more") == "two"
        assert [message["content"] for message in chat.messages] == ["hi", one, "more", "two"]

    asyncio.run(run())


def test_a_deadline_ends_a_reply() -> None:
    model = scripted_model("a" * 90, context=200)
    began = time.monotonic()
    made = model.generate("x", deadline=0.0)
    assert made.text == ""
    assert made.finish_reason == "deadline"
    assert time.monotonic() - began < 5


def test_several_replies_to_one_prompt_compute_it_once() -> None:
    model = scripted_model(context=64)
    made = model.replies("x" * 40, 3, seed=5, temperature=1.5, max_tokens=8)
    texts = [reply.text for reply in made]
    for number, text in enumerate(texts):
        alone = scripted_model(context=64).generate("x" * 40, seed=5 + number, temperature=1.5, max_tokens=8)
        assert alone.text == text
    assert [reply.usage.computed_tokens for reply in made[1:]] == [1, 1]
    assert len({reply.seed for reply in model.replies("x", 3, max_tokens=1)}) == 3


def test_a_reply_outlives_the_loop_that_has_read_its_beginning() -> None:
    for rest_in_a_loop in (False, True):
        reply = scripted_model("abcdefgh" * 20, context=400).agenerate("x")

        async def read(most: int, reply: Any = reply) -> list[str]:
            pieces: list[str] = []
            async for piece in reply:
                pieces.append(piece)
                if len(pieces) == most:
                    break
            return pieces

        begun = asyncio.run(read(3))
        rest = "".join(asyncio.run(read(1000))) if rest_in_a_loop else reply.reply.text[3:]
        assert "".join(begun) + rest == "abcdefgh" * 20


def test_a_cancelled_await_ends_its_reply() -> None:
    model = scripted_model("a" * 900, "yes", context=1000)
    chat = model.chat(template=ChatTemplate("{{ messages[-1].content }}"))

    async def talk() -> str:
        caught: list[BaseException] = []  # keeps the frames of the task, and so the reply
        try:
            await asyncio.wait_for(chat.asend("long"), 0.05)
        except TimeoutError as error:
            caught.append(error)
        return await chat.asend("short")

    assert asyncio.run(talk()) == "yes"
    assert model.stats().running == 0
