"""What llama.cpp computes from a file, number by number: float32 keys and values, one thread.

It runs in a process of its own, by this file as a script, in an environment with llama-cpp-python: the one
that the environment variable ZIGAI_LLAMA_CPP names (the path of its python), or this one.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODULE = "llama_cpp"
"""The module of llama-cpp-python."""

VARIABLE = "ZIGAI_LLAMA_CPP"
"""The environment variable with the path of a python that has llama-cpp-python."""


def interpreter() -> str | None:
    """Returns the python with llama-cpp-python; None if there is none."""
    named = os.environ.get(VARIABLE)
    return named or (sys.executable if importlib.util.find_spec(MODULE) else None)


def outputs_of_llama_cpp(path: Path, tokens: Sequence[int], output: str = "logits") -> NDArray[np.float32]:
    """Returns `logits` `[tokens, vocabulary]`, `scores` `[1, labels]`, or `hidden`: `[1, width]`, the
    embedding of a pooling model, and of another `[tokens, width]`, the states of all tokens.

    Raises `RuntimeError`, with what llama.cpp says, if it cannot read the file or is not installed.
    """
    python = interpreter()
    if python is None:
        raise RuntimeError(f"llama-cpp-python is not installed here, and {VARIABLE} names no other python")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.npy"
        command = [python, "-P", __file__, str(path), json.dumps([*map(int, tokens)]), output, str(out)]
        # Not the variables of this environment's packages, which may be of another Python.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, env=kept, check=False)
        if done.returncode or not out.exists():
            raise RuntimeError(
                f"{path}: llama.cpp ends with exit code {done.returncode}: {done.stderr[-2000:].strip()}"
            )
        found: NDArray[np.float32] = np.load(out)
    return found


def _main(path: str, listed: str, output: str, out: str) -> None:
    """Computes one text and writes the output."""
    api: Any = importlib.import_module(MODULE)
    tokens = json.loads(listed)
    said: list[str] = []
    keep = api.llama_log_callback(lambda level, text, data: said.append(text.decode(errors="replace")))
    api.llama_log_set(keep, ctypes.c_void_p(0))
    api.llama_backend_init()
    options = api.llama_model_default_params()
    options.use_extra_bufts = False  # weights as they are stored
    model = api.llama_model_load_from_file(path.encode(), options)
    if not model:
        raise SystemExit("it cannot load the file: " + "".join(said)[-1500:])
    settings = api.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = -(-len(tokens) // 256) * 256
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = api.GGML_TYPE_F32
    settings.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.embeddings = output != "logits"
    context = api.llama_init_from_model(model, settings)
    if not context:
        raise SystemExit("it cannot make a context: " + "".join(said)[-1500:])
    batch = api.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for place, token in enumerate(tokens):
        batch.token[place], batch.pos[place] = token, place
        batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, True
    if api.llama_decode(context, batch):
        raise SystemExit("it cannot compute the text: " + "".join(said)[-1500:])
    if output != "logits":
        sizes = {"hidden": api.llama_model_n_embd_out, "scores": api.llama_model_n_cls_out}
        shape = (sizes[output](model),)
        row = api.llama_get_embeddings_seq(context, 0)  # null without pooling
        states = [row] if row else [api.llama_get_embeddings_ith(context, i) for i in range(len(tokens))]
        rows = [np.ctypeslib.as_array(each, shape=shape).copy() for each in states]
    else:
        width = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        rows = [
            np.ctypeslib.as_array(api.llama_get_logits_ith(context, place), shape=(width,)).copy()
            for place in range(len(tokens))
        ]
    np.save(out, np.stack(rows))


if __name__ == "__main__":
    _main(*sys.argv[1:])
