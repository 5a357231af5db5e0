"""Opens a model and begins a chat with it, as the options of `zig-ai chat` say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zigai_cli import loader
from zigai_cli.conversation import template
from zigai_cli.conversation.loading import Located, Ready
from zigai_cli.failure import InputError
from zigai_cli.loader import LoadProgress
from zigai_cli.options import Overflow, Speculate
from zigai_cli.terminal.output import figure

if TYPE_CHECKING:
    from zigai_core.api.chat import Chat
    from zigai_core.api.model import Model
    from zigai_core.contracts.load_options import LoadOptions
    from zigai_core.contracts.plugins import Progress
    from zigai_core.text.chat_template import Message


@dataclass(frozen=True)
class ChatOpener:
    """An `Opener` with the options of a command line."""

    load: LoadOptions
    overflow: Overflow
    system: str | None = None
    messages: Sequence[Message] = ()
    """The messages with which the chat begins."""
    template: str | None = None
    """Name of a registered chat template, or a file with one; None is the model's own."""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template."""
    speculate: Speculate = Speculate.OFF
    draft: str | None = None
    """Name of a draft model."""

    def choose(self, name: str | None) -> Located:
        """Return where a model is; downloads it if it is not here. None is the one that comes with zigai."""
        if name is None:
            path, about = loader.bundled()
            return Located(path, remark=about)
        return Located(loader.locate(name), loader.from_anywhere(name))

    def open(self, located: Located, progress: Progress | None = None) -> Ready:
        """Load a model and begin a chat with it. Without `progress` there is a progress bar."""
        chosen = template.choose(self.template)
        with LoadProgress(located.path.name, progress) as bar:
            loaded = loader.load_file(located.path, self.load, bar)
        loaded.graph.output("logits")  # an encoder's error says what it is for
        if chosen is None and loaded.template is None:
            raise InputError(
                f"{located.name or located.path}: holds no chat template, so it may not be trained for chat: "
                f"continue a text with zig-ai generate, or name its template with --template: a registered "
                f"one ({template.registered()}) or a file"
            )
        talk = loaded.chat(
            system=self.system,
            template=chosen,
            overflow=self.overflow.value,
            **loader.speculation(self.speculate, self.draft, self.load, progress),
            **self.keywords,
        )
        talk.messages = list(self.messages)
        return Ready(
            talk,
            loaded.tokenizer,
            loaded.sampling,
            heading(loaded, talk),
            tuple(filter(None, (located.remark, loader.packing_remark(loaded, bar.seconds, self.load)))),
            located.name,
            {"model": loaded.descriptor.name, "backend": loaded.backend},
        )


def heading(model: Model, talk: Chat) -> str:
    """Two lines that name model, backend and chat template."""
    about = model.descriptor
    return (
        f"{about.name} ({about.architecture}, {figure(about.parameters)} parameters) on {model.choice}\n"
        f"template: {talk.template.origin}"
    )
