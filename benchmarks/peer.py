"""Does the work of `zig-ai bench` with llama.cpp's Python binding; needs only `llama_cpp` and numpy.

`time` prints the JSON keys of `zig-ai bench --json`: medians of the rounds after a warm-up, on random tokens
that differ between rounds, so that a prompt cache has no effect. Sequences reach their depth by prefill.
`logits` writes float32 `[tokens, vocabulary]` for all tokens of a JSON list of token lists; with `--exact`
keys and values are float32, which they otherwise are not. `embeddings` writes float32 `[lists, width]`: each
list's embedding as the file says, not normalised. `tokens` writes the tokens of each of a JSON list
of texts, without those at their beginning and end, as a JSON list; control tokens in a text are characters.

usage: python peer.py time MODEL [--prompt N] [--generate N] [--depth N] [--sequences N] [--repeat N]
           [--threads N] [--no-repack]
       python peer.py logits MODEL TOKENS.json OUT.npy [--threads N] [--no-repack] [--exact]
       python peer.py embeddings MODEL TOKENS.json OUT.npy [--threads N] [--no-repack]
       python peer.py tokens MODEL TEXTS.json OUT.json
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH = 2048
"""Tokens per call of llama_decode, which computes them in parts of 512, its default."""

Row = tuple[int, int, int]
"""A token, its position and its sequence."""


def import_llama_cpp() -> Any:
    """The module `llama_cpp`, prepared, and without the library's messages."""
    api: Any = importlib.import_module("llama_cpp")
    api.quiet = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(api.quiet, ctypes.c_void_p(0))
    api.llama_backend_init()
    return api


class Peer:
    """A model and a context of llama.cpp. Raises `SystemExit`, with the reason, if either cannot be made."""

    def __init__(
        self,
        path: str,
        *,
        context: int,
        sequences: int,
        threads: int,
        repack: bool,
        exact: bool = False,
        embeddings: bool = False,
    ) -> None:
        self.api: Any = import_llama_cpp()
        options = self.api.llama_model_default_params()
        options.use_extra_bufts = repack
        began = time.perf_counter()
        self.model = self.api.llama_model_load_from_file(path.encode(), options)
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp cannot load it")
        self.load_seconds = time.perf_counter() - began
        settings = self.api.llama_context_default_params()
        settings.n_ctx = sequences * -(-context // 256) * 256
        settings.n_batch, settings.n_ubatch = BATCH, 512
        settings.n_seq_max = sequences
        settings.n_threads = settings.n_threads_batch = threads
        settings.embeddings = embeddings
        if exact:
            settings.type_k = settings.type_v = self.api.GGML_TYPE_F32
            settings.flash_attn_type = self.api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = self.api.llama_init_from_model(self.model, settings)
        if not self.context:
            raise SystemExit(f"{path}: llama.cpp cannot make a context of {settings.n_ctx} tokens")
        self.memory = self.api.llama_get_memory(self.context)
        self.vocabulary = int(self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model)))

    def decode(self, rows: Sequence[Row], outputs: Sequence[bool]) -> None:
        """Compute a batch of at most `BATCH` rows; `outputs[i]` says if logits of row i are computed."""
        batch = self.api.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for index, (token, position, sequence) in enumerate(rows):
            batch.token[index] = token
            batch.pos[index] = position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = sequence
            batch.logits[index] = outputs[index]
        failed = self.api.llama_decode(self.context, batch)
        self.api.llama_batch_free(batch)
        if failed:
            raise SystemExit(f"llama_decode failed with {failed}")
        self.api.llama_synchronize(self.context)

    def extend(self, tokens: Sequence[int], sequence: int = 0) -> None:
        """Compute a prompt in an empty sequence, with logits of its last token."""
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            rows = [(token, start + index, sequence) for index, token in enumerate(part)]
            self.decode(rows, [start + index == len(tokens) - 1 for index in range(len(part))])

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each of `tokens`: float32 `[len(tokens), vocabulary]`."""
        self.api.llama_memory_clear(self.memory, True)
        found = []
        for start in range(0, len(tokens), BATCH):
            part = tokens[start : start + BATCH]
            self.decode([(token, start + i, 0) for i, token in enumerate(part)], [True] * len(part))
            for index in range(len(part)):
                row = self.api.llama_get_logits_ith(self.context, index)
                found.append(np.ctypeslib.as_array(row, shape=(self.vocabulary,)).copy())
        return np.stack(found)

    def embedding(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The embedding of a text in a context made for embeddings: float32 `[width]`."""
        self.decode([(token, place, 0) for place, token in enumerate(tokens)], [True] * len(tokens))
        width = self.api.llama_model_n_embd(self.model)
        row = self.api.llama_get_embeddings_seq(self.context, 0)
        return np.ctypeslib.as_array(row, shape=(width,)).copy()


def process_age() -> float | None:
    """Seconds since this process started, measured as in `zig-ai bench`; None on systems other than Linux."""
    if sys.platform != "linux":
        return None
    fields = Path("/proc/self/stat").read_text(errors="replace").rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures: speeds in tokens per second, times in seconds, memory in bytes."""
    peer = Peer(
        options.model,
        context=max(options.prompt, options.depth + options.generate),
        sequences=options.sequences,
        threads=options.threads,
        repack=options.repack,
    )
    random = np.random.default_rng(0)
    prompts: list[float] = []
    steps: list[float] = []
    start_to_token = None

    def tokens(count: int) -> list[int]:
        drawn: list[int] = random.integers(3, peer.vocabulary, count).tolist()
        return drawn

    for turn in range(options.repeat + 1 if options.prompt else 0):
        peer.api.llama_memory_clear(peer.memory, True)
        prompt = tokens(options.prompt)
        began = time.perf_counter()
        peer.extend(prompt)
        prompts += [time.perf_counter() - began] if turn else []
        start_to_token = start_to_token or process_age()
    if options.generate:
        peer.api.llama_memory_clear(peer.memory, True)
        for sequence in range(options.sequences if options.depth else 0):
            peer.extend(tokens(options.depth), sequence)
    for turn in range(options.repeat + 1 if options.generate else 0):
        began = time.perf_counter()
        for position in range(options.depth, options.depth + options.generate):
            drawn = tokens(options.sequences)
            rows = [(token, position, sequence) for sequence, token in enumerate(drawn)]
            peer.decode(rows, [True] * len(rows))
        steps += [time.perf_counter() - began] if turn else []
        for sequence in range(options.sequences):
            peer.api.llama_memory_seq_rm(peer.memory, sequence, options.depth, -1)
    figures: dict[str, Any] = {
        "engine": "llama.cpp",
        "version": importlib.import_module("importlib.metadata").version("llama-cpp-python"),
        "repack": options.repack,
        "model": Path(options.model).name,
        "threads": options.threads,
        "load_s": round(peer.load_seconds, 4),
        "prompt": options.prompt,
        "generate": options.generate,
        "depth": options.depth,
        "sequences": options.sequences,
        "repeat": options.repeat,
    }
    if prompts:
        seconds = statistics.median(prompts)
        figures["prompt_tps"] = round(options.prompt / seconds, 4)
        figures["first_token_s"] = round(seconds, 4)
    if steps:
        counted = options.generate * options.sequences
        figures["generate_tps"] = round(counted / statistics.median(steps), 4)
    if start_to_token is not None:
        figures["start_to_token_s"] = round(start_to_token, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures["peak_resident_bytes"] = peak if sys.platform == "darwin" else peak * 1024
    return figures


def write_logits(options: argparse.Namespace) -> None:
    """Write the logits of all token lists, concatenated, to an .npy file."""
    passages: list[list[int]] = json.loads(Path(options.tokens).read_text())
    peer = Peer(
        options.model,
        context=max(map(len, passages)),
        sequences=1,
        threads=options.threads,
        repack=options.repack,
        exact=options.exact,
    )
    np.save(options.out, np.concatenate([peer.logits(passage) for passage in passages]))


def write_embeddings(options: argparse.Namespace) -> None:
    """Write the embeddings of all token lists to an .npy file."""
    texts: list[list[int]] = json.loads(Path(options.tokens).read_text())
    peer = Peer(
        options.model,
        context=max(map(len, texts)),
        sequences=1,
        threads=options.threads,
        repack=options.repack,
        embeddings=True,
    )
    np.save(options.out, np.stack([peer.embedding(text) for text in texts]))


def write_tokens(options: argparse.Namespace) -> None:
    """Write the tokens of all texts to a JSON file."""
    texts: list[str] = json.loads(Path(options.texts).read_text())
    api = import_llama_cpp()
    settings = api.llama_model_default_params()
    settings.vocab_only = True
    model = api.llama_model_load_from_file(options.model.encode(), settings)
    if not model:
        raise SystemExit(f"{options.model}: llama.cpp cannot load its vocabulary")
    vocabulary = api.llama_model_get_vocab(model)
    found: list[list[int]] = []
    for text in texts:
        stored = text.encode()
        room = len(stored) + 8
        tokens = (ctypes.c_int32 * room)()
        count = api.llama_tokenize(vocabulary, stored, len(stored), tokens, room, False, False)
        if count < 0:
            raise SystemExit(f"llama_tokenize gave more than {room} tokens for {text!r}")
        found.append(tokens[:count])
    Path(options.out).write_text(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    timing = commands.add_parser("time")
    logits = commands.add_parser("logits")
    embeddings = commands.add_parser("embeddings")
    tokens = commands.add_parser("tokens")
    for command in (timing, logits, embeddings):
        command.add_argument("model")
        command.add_argument("--threads", type=int, default=os.cpu_count() or 1)
        command.add_argument("--no-repack", dest="repack", action="store_false")
    for command in (logits, embeddings):
        command.add_argument("tokens")
        command.add_argument("out")
    logits.add_argument("--exact", action="store_true")
    for name in ("model", "texts", "out"):
        tokens.add_argument(name)
    for name, usual in (("prompt", 512), ("generate", 64), ("depth", 0), ("sequences", 1), ("repeat", 3)):
        timing.add_argument(f"--{name}", type=int, default=usual)
    options = parser.parse_args()
    if options.command == "time":
        print(json.dumps(measure(options)))
    elif options.command == "logits":
        write_logits(options)
    elif options.command == "embeddings":
        write_embeddings(options)
    else:
        write_tokens(options)


if __name__ == "__main__":
    main()
