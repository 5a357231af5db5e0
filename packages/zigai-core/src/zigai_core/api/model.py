"""A loaded model: descriptor, program, tokenizer and chat template, immutable and shared between threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from zigai_core.api.chat import Chat
from zigai_core.api.draft import check_draft
from zigai_core.api.prompt import Prompt, token_ids
from zigai_core.api.registry import Plugins
from zigai_core.contracts.best import best
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import TemplateError, UnsupportedError
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Program, SelectingProgram, Tokenizer
from zigai_core.engine.generation import Generation
from zigai_core.engine.runner import Runner
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.session import Overflow, Session
from zigai_core.engine.speculation import Drafter, NgramDrafter, SessionDrafter, Speculate
from zigai_core.text.chat_template import ChatTemplate


class Model:
    """What `load` gives. Every conversation and generation has a session of its own.

    >>> model = zigai.load("model.gguf")                            # doctest: +SKIP
    >>> model.generate("Once upon a time", max_tokens=16).complete()     # doctest: +SKIP
    ', there was a little girl named Lily.'
    """

    def __init__(
        self,
        descriptor: ModelDescriptor,
        program: Program,
        tokenizer: Tokenizer | None,
        *,
        backend: str,
        choice: str,
        plugins: Plugins,
    ) -> None:
        self.descriptor = descriptor
        self.program = program
        self.backend = backend
        self.choice = choice
        """Which backend serves the model and why, in a sentence."""
        self.template = (
            ChatTemplate(descriptor.chat_template, origin=f"the chat template in {descriptor.name}")
            if descriptor.chat_template
            else None
        )
        self._tokenizer = tokenizer
        self._plugins = plugins
        self._known_breakers: dict[tuple[str, ...], frozenset[int]] = {}

    @property
    def tokenizer(self) -> Tokenizer:
        """The file's tokenizer; `UnsupportedError` where the file has none."""
        if self._tokenizer is None:
            raise UnsupportedError(
                f"{self.descriptor.name} has no tokenizer, so it cannot read or write text; logits() and "
                "embed() take token ids"
            )
        return self._tokenizer

    @property
    def graph(self) -> Graph:
        """The graph that is run."""
        return self.program.graph

    @property
    def options(self) -> CompileOptions:
        """What the program was planned for."""
        return self.program.options

    def new_session(self) -> Session:
        """An empty session with a cache of its own."""
        return Session(Runner(self.program))

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: SamplingOptions | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        overflow: Overflow = "stop",
        speculate: Speculate | None = None,
        draft: Model | None = None,
    ) -> Generation:
        """Continue a text (control tokens in it are text) or token ids, as a stream of text.

        `speculate="ngram"` guesses ahead what the text has repeated before, `draft` what a smaller model of
        the same vocabulary says: the same text, in fewer steps where guesses are right.
        `UnsupportedError` for a model without logits.
        """
        self.graph.output("logits")
        return Generation(
            self.new_session(),
            self._tokens(prompt),
            self.tokenizer,
            self.sampler(sampling),
            max_tokens=max_tokens,
            stop=stop,
            overflow=overflow,
            drafter=self.drafter(speculate, draft),
        )

    def chat(
        self,
        *,
        system: str | None = None,
        template: ChatTemplate | str | None = None,
        overflow: Overflow = "stop",
        speculate: Speculate | None = None,
        draft: Model | None = None,
        **keywords: Any,
    ) -> Chat:
        """A conversation. `template` is one, or a registered name; None takes the file's own. `keywords` are
        further variables of the template, such as `tools=[…]` or `enable_thinking=False`.

        `TemplateError` where the file has none and none is given, since no template is guessed, and for a
        keyword that the template does not read; `UnsupportedError` for a model without logits.
        """
        self.graph.output("logits")
        if isinstance(template, str):
            text = self._plugins.chat_templates.get(template)
            template = ChatTemplate(text, origin=f"the registered chat template {template}")
        template = template or self.template
        if template is None:
            names = ", ".join(sorted({entry.name for entry in self._plugins.chat_templates.entries()}))
            raise TemplateError(
                f"{self.descriptor.name} holds no chat template: name the one it was trained with ({names}), "
                "or generate() from plain text"
            )
        return Chat(
            self.new_session(),
            self.tokenizer,
            template,
            sampler=self.sampler,
            system=system,
            overflow=overflow,
            drafter=self.drafter(speculate, draft),
            keywords=keywords,
        )

    def logits(self, tokens: Prompt) -> Array:
        """Logits of the next token after each of `tokens`: float32 `[len(tokens), vocabulary]`.

        `UnsupportedError` for a model without logits.
        """
        self.graph.output("logits")
        session = self.new_session()
        session.extend(self._tokens(tokens))
        return session.all_logits()

    def embed(self, text: Prompt) -> Array:
        """The last token's normalised hidden state: float32 `[width]`.

        `UnsupportedError` for a model whose graph has no output named hidden.
        """
        self.graph.output("hidden")
        session = self.new_session()
        session.extend(self._tokens(text))
        return session.hidden()

    def _tokens(self, prompt: Prompt) -> list[int]:
        return self.tokenizer.encode(prompt) if isinstance(prompt, str) else token_ids(prompt)

    def drafter(self, speculate: Speculate | None, draft: Model | None) -> Drafter | None:
        """Who guesses ahead: nobody, or one of the two."""
        if speculate not in (None, "ngram"):
            raise UnsupportedError(f"speculate={speculate!r}: there are 'ngram' and None")
        if speculate is not None and draft is not None:
            raise UnsupportedError("speculate and draft are two ways to guess ahead: take one")
        if draft is not None:
            draft.graph.output("logits")
            check_draft(self.descriptor, draft.descriptor)
            return SessionDrafter(draft.new_session(), min(draft.vocabulary, self.graph.vocabulary_size))
        return NgramDrafter() if speculate else None

    def sampler(self, options: SamplingOptions | None = None) -> Sampler:
        """A sampler of one reply by these options, over the registered steps."""
        options = options or SamplingOptions()
        if options.dry_multiplier > 0 and options.dry_breaker_tokens is None:
            breakers = self._breakers(tuple(options.dry_sequence_breakers))
            options = replace(options, dry_breaker_tokens=breakers)
        return Sampler(
            options,
            samplers=self._plugins.samplers,
            vocabulary=self.vocabulary,
            best=self.program.best if isinstance(self.program, SelectingProgram) else best,
        )

    @property
    def vocabulary(self) -> int:
        """How many tokens can be drawn: those of the tokenizer; the logits may have more rows."""
        rows = self.program.graph.vocabulary_size
        return rows if self._tokenizer is None else min(rows, self._tokenizer.vocabulary_size)

    def _breakers(self, texts: tuple[str, ...]) -> frozenset[int]:
        """The tokens whose text holds one of these; looked up once."""
        if texts not in self._known_breakers:
            breakers = [text.encode("utf-8") for text in texts]
            spelling = self.tokenizer.decode_bytes
            self._known_breakers[texts] = frozenset(
                token
                for token in range(self.vocabulary)
                if any(breaker in spelling([token]) for breaker in breakers)
            )
        return self._known_breakers[texts]

    def __repr__(self) -> str:
        return f"<Model {self.descriptor.name} ({self.descriptor.architecture}) on {self.backend}>"
