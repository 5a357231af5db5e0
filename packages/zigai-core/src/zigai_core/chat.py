"""A conversation of several turns over one session: the cache is kept, only new tokens are computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from zigai_core.chat_template import ChatTemplate, Message
from zigai_core.generation import Generation
from zigai_core.guard import Guard
from zigai_core.protocols import Tokenizer
from zigai_core.sampling import Sampler, SamplingOptions
from zigai_core.session import Overflow, Session


class Chat:
    """Messages, the template that turns them into a prompt, and the session that holds them.

    Under the policy `shift` whole turns are dropped, oldest first; the system message stays.

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
    ) -> None:
        self.template = template
        self.messages: list[Message] = []
        self.system = system
        self.session = session
        self._tokenizer = tokenizer
        self._sampler = sampler
        self._overflow: Overflow = overflow

    def send(
        self,
        text: str,
        *,
        sampling: SamplingOptions | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> Generation:
        """The reply to a message. It joins the conversation, as far as it came, when it ends or is left."""
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages.pop()  # a reply to it was never begun
        self.messages.append({"role": "user", "content": text})
        try:
            prompt, dropped = self._prompt()
            reply = _Reply(
                self.session,
                prompt,
                self._tokenizer,
                self._sampler(sampling),
                max_tokens=max_tokens,
                stop=stop,
                overflow=self._overflow,
            )
        except BaseException:
            self.messages.pop()
            raise
        reply.stats.dropped_tokens = dropped
        reply.messages = self.messages
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
        guard = Guard(self._tokenizer.control_tokens, [*system, *messages])
        rendered = self.template.render(
            guard.messages,
            bos_token=self._spelling(roles.get("bos")),
            eos_token=self._spelling(roles.get("eos")),
        )
        text, guards = guard.removed(rendered)
        tokens = self._tokenizer.encode(text, special=True, guards=guards)
        bos = roles.get("bos")
        # A template that writes the bos token itself and a file that asks for one would make two of it.
        return tokens[1:] if bos is not None and tokens[:2] == [bos, bos] else tokens

    def _spelling(self, token: int | None) -> str:
        return "" if token is None else self._tokenizer.token_text(token)


class _Reply(Generation):
    """A generation that becomes a message of its conversation."""

    messages: list[Message]

    def _generate(self) -> Generator[str, None, None]:
        try:
            yield from super()._generate()
        finally:
            if self.tokens or self.finish_reason == "end":
                self.messages.append({"role": "assistant", "content": self.text.strip()})
            else:  # nothing was said: an error, or no room for it
                self.messages.pop()
