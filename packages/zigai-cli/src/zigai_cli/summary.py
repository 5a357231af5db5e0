"""What can be said about a model's file and about what would serve it, as plain values ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zigai_cli import failure
from zigai_core.api import loading
from zigai_core.api.backends import make_backend, missing_of
from zigai_core.api.registry import Plugins, Registry
from zigai_core.contracts.errors import ZigAIError
from zigai_core.contracts.load_options import LoadOptions

if TYPE_CHECKING:
    from zigai_core.contracts.graph import Graph


class Summary:
    """Reads the file once; the model's architecture, tokenizer and backends are asked only where asked for.

    `options`: how the model would be loaded.
    """

    def __init__(self, path: Path, options: LoadOptions, *, plugins: Plugins | None = None) -> None:
        self._plugins = plugins or Plugins.installed()
        self.model = loading.read(path, plugins=self._plugins)
        self._path = path
        self._options = options

    def about(self) -> dict[str, Any]:
        """The descriptor: names, sizes, hyperparameters, tokenizer, chat template."""
        model, spec = self.model, self.model.tokenizer
        return {
            "path": str(self._path),
            "name": model.name,
            "format": model.format,
            "architecture": model.architecture,
            "parameters": model.parameters,
            "bytes": model.nbytes,
            "file_bytes": _size(self._path),
            "context_length": plain(model.hyperparameters.get("context_length")),
            "hyperparameters": {key: plain(value) for key, value in model.hyperparameters.items()},
            "tokenizer": spec
            and {
                "kind": spec.kind,
                "size": len(spec.tokens),
                "pre_tokenizer": spec.pre_tokenizer,
                "special_ids": {role: int(token) for role, token in spec.special_ids.items()},
                "end_ids": sorted(int(token) for token in spec.end_ids),
                "add_bos": spec.add_bos,
            },
            "chat_template": model.chat_template,
        }

    def tensors(self) -> list[dict[str, Any]]:
        """Every tensor, in the file's order."""
        return [
            {
                "name": name,
                "shape": [int(size) for size in tensor.shape],
                "type": tensor.dtype.name,
                "bytes": tensor.nbytes,
            }
            for name, tensor in self.model.tensors.items()
        ]

    def types(self) -> list[dict[str, Any]]:
        """For each type that tensors are stored in: how many, elements, bytes; most bytes first."""
        sums: dict[str, dict[str, Any]] = {}
        for tensor in self.tensors():
            kind = tensor["type"]
            row = sums.setdefault(kind, {"type": kind, "tensors": 0, "elements": 0, "bytes": 0})
            row["tensors"] += 1
            row["elements"] += math.prod(tensor["shape"])
            row["bytes"] += tensor["bytes"]
        return sorted(sums.values(), key=lambda row: -row["bytes"])

    def served_by(self) -> dict[str, Any]:
        """Who would serve the architecture, the tokenizer and the whole graph, or why nobody does."""
        spec = self.model.tokenizer
        served: dict[str, Any] = {
            "architecture": self._who(self._plugins.architectures, self.model.architecture),
            "tokenizer": None if spec is None else self._who(self._plugins.tokenizers, spec.kind),
            "graph_error": None,
            "backends": [],
            "chosen": None,
        }
        try:
            graph = self._graph()
        except ZigAIError as error:
            served["graph_error"] = failure.describe(error)
            return served
        for name in self._plugins.backends:
            served["backends"].append(self._ask(name, graph))
        able = [row for row in served["backends"] if not row["missing"] and row["error"] is None]
        served["chosen"] = max(able, key=lambda row: row["speed"])["name"] if able else None
        return served

    def kernels(self, progress: Any = None) -> dict[str, Any]:
        """Compile the model as loading it would: the program's summary, and what serves each tensor."""
        made = loading.prepare(self.model, self._options, self._plugins)
        report = made.compile(progress).report()
        return {
            "backend": report.backend,
            "choice": made.choice,
            "context": made.options.context,
            "kv_dtype": made.options.kv_dtype,
            "summary": report.summary,
            "tensors": [
                {
                    "tensor": row.tensor,
                    "type": row.dtype,
                    "shape": list(row.shape),
                    "kernel": row.kernel,
                    "instruction_set": row.instruction_set,
                    "packing": row.packing,
                    "bytes": row.nbytes,
                }
                for row in report.tensors
            ],
        }

    def _graph(self) -> Graph:
        options = self._options
        context = loading.plan(self.model, options).context
        return loading.build(self.model, context=context, unread=options.unread, plugins=self._plugins)

    def _who(self, registry: Registry[Any], name: str) -> dict[str, Any]:
        row = {"name": name, "distribution": None, "version": None, "error": None}
        try:
            registry.get(name)
        except ZigAIError as error:
            row["error"] = failure.describe(error)
            return row
        entry = next(entry for entry in registry.entries() if entry.name == name)
        return row | {"distribution": entry.distribution, "version": entry.version}

    def _ask(self, name: str, graph: Graph) -> dict[str, Any]:
        row = self._who(self._plugins.backends, name) | {"missing": [], "speed": None}
        if row["error"] is not None:
            return row
        try:
            backend = make_backend(name, self._plugins, {})
            missing: Sequence[str] = missing_of(backend, graph, self.model)
        except Exception as error:  # a backend that breaks here must not hide what the others can do
            return row | {"error": failure.describe(error)}
        return row | {"missing": list(missing), "speed": backend.speed}


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
    return sum(each.stat().st_size for each in files)


def plain(value: Any) -> Any:
    """A value out of a file as JSON can hold it; what is not finite becomes its name."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):  # text of a file that is not UTF-8
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, Sequence):
        return [plain(entry) for entry in value]
    return str(value)
