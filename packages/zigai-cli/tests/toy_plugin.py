"""A format, an architecture, a tokenizer and a backend for tests: a prompt's last byte selects the reply.

A model file is the line `TOY1` and a JSON object. The backend takes logits from a table of tokens instead of
computing them from weights, so that a test knows each reply in advance.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import typer

from zigai_core.contracts.best import Best, best
from zigai_core.contracts.errors import Cancelled, DownloadError, FormatError, UnsupportedError
from zigai_core.contracts.plugins import ProgramReport, TensorReport
from zigai_core.contracts.sources import Offer, StoredModel
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.oracles import float_tensor
from zigai_core.testing.toys import toy_decoder

FIRST_BYTE, FIRST_WORD = 3, 259
HELLO, COMMA, WORLD, TICK, ESCAPES, NEVER, BROKEN, SNOWMAN, THINK, HM, DONE = range(
    FIRST_WORD, FIRST_WORD + 11
)
END = 2
WORDS = ["Hello", ",", "▁world", "tick▁", "\x1b[31m\x9bred\x07\x7f\tnext\r\nline", "never", "broken", "☃"]
WORDS += ["<think>", "hm", "</think>"]
NEXT = {
    ord("!") + FIRST_BYTE: TICK,
    TICK: TICK,
    ord("#") + FIRST_BYTE: ESCAPES,
    ord("@") + FIRST_BYTE: NEVER,
    ord("%") + FIRST_BYTE: BROKEN,
    ord("*") + FIRST_BYTE: SNOWMAN,
    ord("?") + FIRST_BYTE: THINK,
    THINK: HM,
    HM: DONE,
    DONE: HELLO,
    HELLO: COMMA,
    COMMA: WORLD,
    WORLD: END,
    ESCAPES: END,
    SNOWMAN: END,
}
"""The token that follows each token; `Hello` follows any other."""


class ToyFormat:
    def recognises(self, path: Path) -> bool:
        return path.is_file() and path.read_bytes().startswith(b"TOY1\n")

    def read(self, path: Path) -> Any:
        try:
            content = json.loads(path.read_text(encoding="utf-8").removeprefix("TOY1\n"))
        except ValueError as error:
            raise FormatError(f"{path}: not JSON:\nat the second line") from error
        model = toy_decoder("toy", layers=1, context=content.get("context", 64), vocabulary=300)
        spec = model.tokenizer
        tokens = [*spec.tokens[:FIRST_WORD], *WORDS, *spec.tokens[FIRST_WORD + len(WORDS) :]]
        labels = content.get("labels")  # of a reranker
        tensors = dict(model.tensors)
        if labels is not None:
            rows = model.tensors["blk.0.ffn_down.weight"].to_float32()[:labels, :64]
            tensors["cls.output.weight"] = float_tensor("cls.output.weight", rows)
        return replace(
            model,
            tensors=tensors,
            name=content.get("name", "toy model"),
            architecture=content.get("architecture", "toy"),
            tokenizer=replace(
                spec, kind=content.get("tokenizer", "toy"), tokens=tokens, add_bos=True, separators=(1,)
            ),
            chat_template=content.get("template", "{% for m in messages %}{{ m.content }}{% endfor %}"),
            sampling=content.get("sampling", {}),
            format="toy",
            path=path,
        )


def toy_architecture(model: Any, *, context: int) -> Any:
    return decoder(model, context=context, pairing="adjacent")


def toy_reranker(model: Any, *, context: int) -> Any:
    g = GraphBuilder(model.tensors)
    for pattern in ("blk.*", "output*"):
        g.leave_out(pattern, "this is a toy")
    labels = g.shape("cls.output.weight")[0]
    g.output("scores", g.linear(g.pool(g.embedding("token_embd", 64), "mean"), "cls.output", labels))
    return g.finish()


def toy_encoder(model: Any, *, context: int) -> Any:
    g = GraphBuilder(model.tensors)
    for pattern in ("blk.*", "output*"):
        g.leave_out(pattern, "this is a toy")
    g.output("hidden", g.pool(g.embedding("token_embd", 64), "mean"))
    return g.finish()


class ToyBackend:
    name = "toy"
    speed = 1000

    def __init__(self, packed_cache: Path | None = None) -> None:
        self.packed_cache = None if packed_cache is None else Path(packed_cache)

    def ignored(self, options: Any) -> Mapping[str, str]:
        return {"kv_dtype": "it keeps no keys"} if options.kv_dtype == "F16" else {}

    def missing(self, graph: Any, weights: Mapping[str, Any]) -> list[str]:
        return []

    def compile(self, graph: Any, weights: Any, options: Any, progress: Any = None) -> ToyProgram:
        for done in range(0, 101, 20):
            if progress is not None:
                progress(done, 100)
            time.sleep(0.2 if os.environ.get("TOY_LOADS_SLOWLY") else 0)
        if options.kv_dtype == "Q3":
            raise UnsupportedError("no keys and values as Q3")
        if self.packed_cache is not None:
            self.packed_cache.mkdir()
            (self.packed_cache / "toy").touch()
        return ToyProgram(graph, options)


class LameBackend(ToyBackend):
    """A faster backend that lacks a kernel, so that loading passes it over."""

    name = "lame"
    speed = 2000

    def missing(self, graph: Any, weights: Mapping[str, Any]) -> list[str]:
        return ["linear of F32"]

    def compile(self, graph: Any, weights: Any, options: Any, progress: Any = None) -> ToyProgram:
        raise UnsupportedError("the lame backend has no linear of F32")


class ToyProgram:
    batch_invariant = True

    def __init__(self, graph: Any, options: Any) -> None:
        self.graph = graph
        self.options = options

    @property
    def state_bytes(self) -> tuple[int, ...]:
        return (1,) * len(self.graph.groups)

    def new_executor(self, sizes: Any) -> ToyExecutor:
        return ToyExecutor(tuple(sizes))

    def report(self) -> ProgramReport:
        row = TensorReport("token_embd.weight", "F32", (300, 64), "lookup", "plain", "as stored", 76800)
        return ProgramReport("toy", "a table of tokens", (row,))


class ToyExecutor:
    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes

    def run(self, batch: Any, stop: Any) -> ToyOutputs:
        logits = np.zeros((len(batch.output_rows), 300), np.float32)
        for row, output in enumerate(batch.output_rows):
            token = int(batch.tokens[output])
            following = NEXT.get(token, HELLO)
            if following == TICK:
                wait(stop, 0.01)
            if following == NEVER:
                Path(os.environ.get("TOY_MARK", os.devnull)).touch()
                wait(stop, 60)  # a long native step
                time.sleep(0.05)
            if following == BROKEN:
                raise RuntimeError("the toy is\nbroken")
            logits[row, following] = 100.0
        if stop[0]:
            raise Cancelled("the step was cancelled")
        return ToyOutputs({"logits": logits, "hidden": np.zeros((len(logits), 64), np.float32)})

    def copy(self, group: int, pairs: Any) -> None:
        pass


class ToyOutputs:
    def __init__(self, rows: Mapping[str, Any]) -> None:
        self._rows = rows

    def rows(self, name: str) -> Any:
        return self._rows[name]

    def best(
        self, row: int, k: int, edits: Any = None, mask: Any = None, *, width: int | None = None
    ) -> Best:
        return best(self._rows["logits"][row], k, edits, mask, width=width)


class ToySource:
    """Models `one` and `slow` below ZIGAI_HOME; `slow` takes a minute."""

    def _path(self, name: str) -> Path:
        return Path(os.environ["ZIGAI_HOME"]) / f"{name}.toy"

    def target(self, name: str) -> str | None:
        return None

    def find(self, name: str) -> Path | None:
        path = self._path(name)
        return path if path.exists() else None

    def pull(self, name: str, progress: Any = None) -> Path:
        if name not in ("one", "slow"):
            raise DownloadError(f"toy:{name}: the toy hub has no such model")
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        steps = 600 if name == "slow" else 10
        for step in range(steps + 1):
            if progress is not None:
                progress(f"{name}.toy", step * 1_000_000, steps * 1_000_000)
            time.sleep(0.1 if name == "slow" else 0)
        path.write_text('TOY1\n{"name": "pulled"}')
        return path

    def stored(self, name: str | None = None) -> list[StoredModel]:
        path = self._path("one")
        half = StoredModel("toy:half", path.with_name("half.part"), 7, complete=False)
        found = [StoredModel("toy:one", path, path.stat().st_size), half] if path.exists() else []
        return [model for model in found if name in (None, model.name.removeprefix("toy:"))]

    def remove(self, name: str) -> int:
        path = self._path(name)
        size = path.stat().st_size if path.exists() else 0
        path.unlink(missing_ok=True)
        return size

    def offered(self) -> list[Offer]:
        return []


class ToyAliases(ToySource):
    """The alias `tiny` stands for `toy:one`."""

    def target(self, name: str) -> str | None:
        if name != "tiny":
            raise DownloadError(f"{name}: there is no such file, folder or alias")
        return "toy:one"

    def stored(self) -> list[StoredModel]:
        return []

    def offered(self) -> list[Offer]:
        return [Offer("tiny", "a tiny toy", 12_000_000, "MIT", "toy:one")]


def wait(stop: Any, seconds: float) -> None:
    """Waits for so long, or until the step is stopped."""
    end = time.monotonic() + seconds
    while not stop[0] and time.monotonic() < end:
        time.sleep(0.001)


def toy_command(name: str = "you") -> None:
    """A sub-command that a plugin provides."""
    print(f"toy greets {name}")


toy_group = typer.Typer()
"""Sub-commands of a command that a plugin provides."""


@toy_group.command()
def wave() -> None:
    print("toy waves")


@toy_group.command()
def bow(times: int = 1) -> None:
    print(f"toy bows {times}")


def broken_command() -> None:
    raise RuntimeError("never run")


TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
TOKENIZER = ByteTokenizer
