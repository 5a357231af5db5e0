"""A conversation of several turns over one session: the cache is kept, only new tokens are computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from zigai_core.contracts.errors import TemplateError, TokenizerError
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.plugins import Tokenizer
from zigai_core.engine.generation import Generation
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.session import Overflow, Session
from zigai_core.engine.speculation import Drafter
from zigai_core.text.chat_template import ChatTemplate, Message
from zigai_core.text.escape import Guard, Spellings
from zigai_core.text.reasoning import OPENING, Part, ReasoningStream, split_reasoning

_OWN = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token"})
"""Variables of a template that a chat sets itself."""


class Chat:
    """Messages, the template that turns them into a prompt, and the session that holds them.

    Under the policy `shift` whole turns are dropped, oldest first; the system message stays. `keywords` are
    further variables of the template, such as `tools` or `enable_thinking`: one that the template does not
    read is a `TemplateError`, because it would do nothing.

    >>> chat = model.chat(system="Answer in one word.")     # doctest: +SKIP
    >>> print(chat.send("The capital of France?").complete())     # doctest: +SKIP
    Paris
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        sampler: Callable[[SamplingOptions | None], Sampler],
        system: str | None = None,
        overflow: Overflow = "stop",
        drafter: Drafter | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        self.template = template
        self.messages: list[Message] = []
        self.system = system
        self.session = session
        self._opened = False
        self._tokenizer = tokenizer
        self._control_tokens = Spellings(tokenizer.control_tokens)
        self._sampler = sampler
        self._overflow: Overflow = overflow
        self._drafter = drafter
        self._keywords = dict(keywords or {})
        for keyword in self._keywords:
            if keyword not in template.variables - _OWN:
                taken = ", ".join(sorted(template.variables - _OWN)) or "none"
                raise TemplateError(f"{template.origin} takes no {keyword!r}; what it reads is: {taken}")

    def send(
        self,
        message: str | Message,
        *,
        sampling: SamplingOptions | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> Reply:
        """The reply to a message. It joins the conversation, as far as it came, when it ends or is left.

        Text is what the user says; another role's message (a tool's result) is given as a `Message`.
        """
        given: object = message
        if not isinstance(given, (str, Mapping)):
            raise TokenizerError(f"a message is text or a mapping with a role, not {type(given).__name__}")
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages.pop()  # a reply to it was never begun
        self.messages.append({"role": "user", "content": message} if isinstance(message, str) else message)
        try:
            prompt, dropped = self._prompt()
            reply = Reply(
                self.session,
                prompt,
                self._tokenizer,
                self._sampler(sampling),
                max_tokens=max_tokens,
                stop=stop,
                overflow=self._overflow,
                drafter=self._drafter,
                fresh=True,
            )
        except BaseException:
            self.messages.pop()
            raise
        reply.stats.dropped_tokens = dropped
        reply.messages = self.messages
        reply.begun = self._opened
        return reply

    def reset(self) -> None:
        """Forget all messages but the system's."""
        self.messages.clear()
        self.session.rewind(0)

    def _prompt(self) -> tuple[list[int], int]:
        """The conversation's tokens, and how many were dropped to leave a quarter of the context free."""
        tokens = full = self._render(self.messages)
        room = self.session.context - self.session.context // 4
        while self._overflow == "shift" and len(tokens) > room and len(self.messages) > 2:
            del self.messages[:2]
            tokens = self._render(self.messages)
        return tokens, len(full) - len(tokens)

    def _render(self, messages: Sequence[Message]) -> list[int]:
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        roles = self._tokenizer.special_ids
        said = {**self._keywords, "messages": [*system, *messages]}
        guard = Guard(self._control_tokens, said)
        rendered = self.template.render(
            **guard.broken,
            bos_token=self._spelling(roles.get("bos")),
            eos_token=self._spelling(roles.get("eos")),
        )
        text, guards = guard.removed(rendered)
        self._opened = text.rstrip().endswith(OPENING)
        tokens = self._tokenizer.encode(text, special=True, guards=guards)
        bos = roles.get("bos")
        # A template that writes the bos token itself and a file that asks for one would make two of it.
        return tokens[1:] if bos is not None and tokens[:2] == [bos, bos] else tokens

    def _spelling(self, token: int | None) -> str:
        return "" if token is None else self._tokenizer.token_text(token)


class Reply(Generation):
    """A generation that becomes a message of its conversation.

    Iterating over it gives the text as the model writes it, its reasoning included; `parts` tells them apart.
    """

    messages: list[Message]
    begun = False
    """Whether the prompt has begun the reasoning, as some templates do."""

    def parts(self) -> Iterator[Part]:
        """The reply as it comes, reasoning and answer told apart."""
        stream = ReasoningStream(begun=self.begun)
        for piece in self:
            yield from stream.push(piece)
        yield from stream.finish()

    @property
    def reasoning(self) -> str:
        """What the model thought before it answered, as far as it has come."""
        return split_reasoning(self.text, begun=self.begun)[0]

    @property
    def answer(self) -> str:
        """The reply without its reasoning, as far as it has come."""
        return split_reasoning(self.text, begun=self.begun)[1]

    def _generate(self) -> Generator[str, None, None]:
        try:
            yield from super()._generate()
        finally:
            if self.tokens or self.finish_reason == "end":
                message: Message = {"role": "assistant", "content": self.answer}
                if self.reasoning:
                    message["reasoning_content"] = self.reasoning
                self.messages.append(message)
            else:  # nothing was said: an error, or no room for it
                self.messages.pop()
