"""A loaded model: descriptor, program, tokenizer, chat template, and the engine that runs it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Collection, Mapping, MutableSet, Sequence
from types import TracebackType
from typing import Any

from zigai_core.api.async_reply import AsyncReply
from zigai_core.api.chat import Chat
from zigai_core.api.draft import Speculate, check_drafter, new_drafter
from zigai_core.api.embedding import embed_texts
from zigai_core.api.prompt import Prompt, token_ids
from zigai_core.api.registry import Plugins
from zigai_core.api.reply import Reply
from zigai_core.api.reply_options import seeds_of, split_options
from zigai_core.api.rerank import rerank
from zigai_core.api.samplers import Samplers, default_sampling
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import (
    TemplateError,
    UnsupportedError,
    ZigAIError,
)
from zigai_core.contracts.graph import Array, Graph
from zigai_core.contracts.options import CompileOptions, SamplingOptions
from zigai_core.contracts.plugins import Program, Tokenizer
from zigai_core.contracts.pooling import PoolKind
from zigai_core.engine.engine import QUEUE, Engine
from zigai_core.engine.request import Budget, EngineStats, Overflow, Request, Shift
from zigai_core.engine.sampling import Sampler
from zigai_core.engine.stream import Stream
from zigai_core.text.chat_template import ChatTemplate
from zigai_core.text.reasoning import shown_tokens
from zigai_core.text.stream import TextStream


class Model:
    """A loaded model. Thread-safe: all replies, chats and embeddings of a model share one engine.

    Memory for states is made when the model is first used. `close`, or the end of the `with` block, ends all
    replies and frees it.

    >>> with zigai.load("model.gguf") as model:                                # doctest: +SKIP
    ...     print(model.generate("Once upon a time", max_tokens=16))
    , there was a little girl named Lily.
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
        budget: Budget | None = None,
        queue: int | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.program = program
        self.backend = backend
        self.choice = choice
        """The name of the backend, and the reason for its choice."""
        self.template = (
            ChatTemplate(descriptor.chat_template, origin=f"the chat template in {descriptor.name}")
            if descriptor.chat_template
            else None
        )
        self.sampling = default_sampling(descriptor)
        """The sampling options of replies for which none are given: the file's defaults, else core's."""
        self.checked_drafts: MutableSet[Any] = weakref.WeakSet()
        """Draft models whose vocabulary was compared with this model's."""
        self._tokenizer = tokenizer
        self._plugins = plugins
        self._budget = budget
        self._queue = QUEUE if queue is None else queue
        self._samplers = Samplers(program, tokenizer, plugins)
        self._engines: dict[str, Engine] = {}  # one at most; no lock, which a handler or a fork could block
        self._closed = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The file's tokenizer. Raises `UnsupportedError` if the file has none."""
        if self._tokenizer is None:
            raise UnsupportedError(
                f"{self.descriptor.name} has no tokenizer, so it cannot read or write text; logits() and "
                "embed() take token ids"
            )
        return self._tokenizer

    @property
    def graph(self) -> Graph:
        """The graph of the program."""
        return self.program.graph

    @property
    def options(self) -> CompileOptions:
        """The options that the program was compiled with."""
        return self.program.options

    @property
    def vocabulary(self) -> int:
        """Number of tokens that can be drawn: those of the tokenizer. The logits may have more columns."""
        return self._samplers.vocabulary

    @property
    def engine(self) -> Engine:
        """The engine, which is made when it is first needed. Raises `ZigAIError` after `close`."""
        engine = self._engines.get("")
        if engine is None and not self._closed:
            made = Engine(self.program, budget=self._budget, queue=self._queue)
            engine = self._engines.setdefault("", made)
            if engine is not made:  # another thread was first
                made.close()
        if self._closed:
            self.close()
            raise ZigAIError(f"{self.descriptor.name} is closed: load it again")
        assert engine is not None
        return engine

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    def close(self) -> None:
        """Ends all replies and frees the memory of the engine. The model cannot be used any more."""
        self._closed = True
        engine = self._engines.pop("", None)
        if engine is not None:
            engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: SamplingOptions | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        overflow: Overflow = "stop",
        speculate: Speculate | None = None,
        draft: Model | None = None,
        deadline: float | None = None,
        priority: int = 0,
        logprobs: int | None = None,
        **options: Any,
    ) -> Reply:
        """Continues a text, or token ids. Control tokens in a text are text.

        `options` are fields of `SamplingOptions` (`temperature=0`), which replace those of `sampling`, or
        without it the defaults of the file, `Model.sampling`.
        `max_tokens`: the most tokens that are generated; 0 for none, None for no limit but the context.
        `stop`: texts that end the reply. `overflow`: what happens when the context is full. `deadline`: the
        seconds from now after which the reply ends. `priority`: replies of a higher priority are computed
        first. `logprobs`: for each token, report so many of the most likely ones (`Reply.logprobs`).

        `speculate="ngram"` proposes draft tokens that followed the same tokens earlier, `draft` those of a
        smaller model with the same vocabulary: the same text, in fewer steps if they are accepted.

        Raises `ContextOverflowError` if there is no room for a reply, `SamplingError` for an invalid option,
        and `UnsupportedError` for a model without logits.
        """
        called = time.perf_counter()
        tokens = self._tokens(prompt)
        stream, sampler = self._submit(
            tokens,
            called,
            {
                "sampling": sampling,
                "max_tokens": max_tokens,
                "stop": stop,
                "overflow": overflow,
                "speculate": speculate,
                "draft": draft,
                "deadline": deadline,
                "priority": priority,
                "logprobs": logprobs,
                **options,
            },
            after=tokens[-1] if tokens else None,
        )
        return self._reply(stream, sampler)

    def agenerate(self, prompt: Prompt, **options: Any) -> AsyncReply[Reply]:
        """Continues a text as `generate` does, and returns the reply for `async for` or `await`."""
        return AsyncReply(self.generate(prompt, **options))

    def replies(self, prompt: Prompt, count: int, *, seed: int | None = None, **options: Any) -> list[Reply]:
        """Returns several replies to one prompt, which is computed once. Options are those of `generate`.

        Reply i has the seed `seed + i`, where `seed` may be that of `sampling`; without one each has a random
        one.
        """
        called = time.perf_counter()
        seeds = seeds_of(count, seed, options.get("sampling") or self.sampling)
        tokens, made = self._tokens(prompt), list[Reply]()
        after = tokens[-1] if tokens else None
        for own in seeds:
            like = made[0].stream if made else None
            stream, sampler = self._submit(tokens, called, {**options, **own}, after=after, like=like)
            made.append(self._reply(stream, sampler))
        return made

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
        """Starts a chat. `template` is a template, or the name of a registered one; None is the file's.

        `keywords` are further variables of the template, such as `tools=[…]` or `enable_thinking=False`.

        Raises `TemplateError` if the file has no template and none is given, since none is guessed, and for a
        keyword that the template does not read, and `UnsupportedError` for a model without logits.
        """
        self.graph.output("logits")
        if isinstance(template, str):
            text = self._plugins.chat_templates.get(template)
            template = ChatTemplate(text, origin=f"the registered chat template {template}")
        template = template or self.template
        if template is None:
            names = ", ".join(sorted({entry.name for entry in self._plugins.chat_templates.entries()}))
            raise TemplateError(
                f"{self.descriptor.name} holds no chat template: pass the one it was trained with as "
                f"template= ({names}, or a ChatTemplate), or continue a plain text with generate()"
            )
        check_drafter(self, speculate, draft)  # now, not with the first message

        proposing = {"speculate": speculate, "draft": draft}
        shown = shown_tokens(self.tokenizer.control_tokens)

        def submit(
            prompt: Sequence[int], called: float, options: Mapping[str, Any], shift: Shift | None
        ) -> tuple[Stream, Sampler]:
            own = {} if options.keys() & proposing.keys() else proposing
            return self._submit(prompt, called, {**own, **options}, shift=shift, shown=shown)

        return Chat(
            submit,
            self.tokenizer,
            template,
            context=self.engine.context,
            system=system,
            overflow=overflow,
            keywords=keywords,
        )

    def logits(self, tokens: Prompt) -> Array:
        """Returns the logits of the next token after each of `tokens`: float32 `[len(tokens), vocabulary]`.

        Raises `UnsupportedError` for a model without logits.
        """
        return self.outputs("logits", tokens)

    def outputs(self, name: str, tokens: Prompt) -> Array:
        """Returns an output of the graph for each of `tokens`: float32 `[len(tokens), width]`.

        Raises `UnsupportedError`, with the existing names, if the graph has no output of this name.
        """
        self.graph.output(name)
        return self.engine.submit(Request(self._tokens(tokens), outputs=name, rows="all")).outputs

    def embed(
        self, text: Prompt | Sequence[Prompt], *, pooling: PoolKind | None = None, normalize: bool = True
    ) -> Array:
        """Returns the embedding of a text or of token ids, float32 `[width]`, or of several, a row each.

        It is made of the hidden states: that of the last token, of the first one (`cls`), or the mean. By
        default a model that was made for embeddings pools them as it was trained to (`graph.pooling`), and
        others give that of the last token. With `normalize`, its Euclidean length is 1. Texts are computed
        together. A text, unlike token ids, ends with the end-of-text token if the file asks for one.

        Raises `UnsupportedError` for a model whose graph has no output named hidden, and for a pooling other
        than the graph's own; `TokenizerError` for a text without tokens and for anything but a text or token
        ids, and `ContextOverflowError` for one that is too long, with its index among several.
        """
        return embed_texts(self, text, self._tokens, pooling, normalize=normalize)

    def rerank(self, query: str, documents: Sequence[str], *, truncate: bool = False) -> Array:
        """Returns a score for each document, in order, by a reranker: float32 `[len(documents)]`.

        Scores say how well a document answers the query. They are raw: numbers without a unit or bounds
        (logits), of which the larger one is better, to compare documents for one query by one model.
        `1 / (1 + exp(-score))` is a probability where a model was trained for it. Query and document are read
        as a pair in the form of the tokenizer, each pair whole, many together. With `truncate` the end of a
        document that is too long is cut off.

        Raises `UnsupportedError` for a model that is no reranker, with more than one score (a classifier), or
        whose tokenizer has no form for pairs; `ContextOverflowError`, with its index, for a document that is
        too long, and for a query that leaves no room; `TokenizerError` for what is no text.

        >>> model = zigai.load("bge-reranker-v2-m3")                             # doctest: +SKIP
        >>> model.rerank("what is a panda?", ["hi", "The giant panda is a bear."]).argmax()  # doctest: +SKIP
        1
        """
        return rerank(self, query, documents, truncate=truncate)

    def stats(self) -> EngineStats:
        """Returns counts of all requests of this model, and the engine's present state. From any thread."""
        return self.engine.stats()

    def sampler(self, options: SamplingOptions | None = None) -> Sampler:
        """Returns a sampler for one reply, with the registered steps; without options, those of the model."""
        return self._samplers.new(options or self.sampling)

    def _submit(
        self,
        prompt: Sequence[int],
        called: float,
        options: Mapping[str, Any],
        *,
        shift: Shift | None = None,
        after: int | None = None,
        like: Stream | None = None,
        shown: Collection[int] = (),
    ) -> tuple[Stream, Sampler]:
        """Submits a prompt with keywords of `generate`.

        `called`: when the reply was asked for, by `time.perf_counter()`. `after`: the token that the reply's
        text continues; None: it begins one. `like`: the reply to the same prompt, which it shares.
        `shown`: control tokens that are part of its text.
        """
        self.graph.output("logits")
        wanted, changes = split_options(options)
        sampler = self._samplers.new(wanted.sampling or self.sampling, changes)
        passed = time.perf_counter() - called
        request = Request(
            prompt,
            max_tokens=wanted.max_tokens,
            end_ids=self.tokenizer.end_ids,
            sampler=sampler,
            text=TextStream(self.tokenizer, wanted.stops, after=after, shown=shown),
            drafter=new_drafter(self, wanted.speculate, wanted.draft),
            overflow=wanted.overflow,
            shift=shift,
            priority=wanted.priority,
            deadline=None if wanted.deadline is None else time.monotonic() - passed + wanted.deadline,
            called=called,
            logprobs=wanted.logprobs,
        )
        engine = self.engine
        return engine.submit(request) if like is None else engine.fork(like, request), sampler

    def _reply(self, stream: Stream, sampler: Sampler) -> Reply:
        return Reply(stream, self.tokenizer, context=self.engine.context, seed=sampler.seed)

    def _tokens(self, prompt: Prompt, *, what: str = "a prompt") -> list[int]:
        return self.tokenizer.encode(prompt) if isinstance(prompt, str) else token_ids(prompt, what=what)

    def __repr__(self) -> str:
        return f"<Model {self.descriptor.name} ({self.descriptor.architecture}) on {self.backend}>"
