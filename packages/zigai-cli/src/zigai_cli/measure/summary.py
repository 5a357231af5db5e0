"""Facts about a model file and the plugins that serve it, as plain values for JSON."""

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
    """Facts about the model at `path`, as it would be loaded with `options`.

    The constructor reads the file and raises what `zigai_core.api.loading.read` does. Architecture, tokenizer
    and backends are imported only by the methods that report on them.
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
            "file_bytes": _size(self._path, model.files),
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
            "sampling": {name: plain(value) for name, value in model.sampling.items()},
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
        """Number of tensors, elements and bytes of each storage type; the type with the most bytes first."""
        sums: dict[str, dict[str, Any]] = {}
        for tensor in self.tensors():
            kind = tensor["type"]
            row = sums.setdefault(kind, {"type": kind, "tensors": 0, "elements": 0, "bytes": 0})
            row["tensors"] += 1
            row["elements"] += math.prod(tensor["shape"])
            row["bytes"] += tensor["bytes"]
        return sorted(sums.values(), key=lambda row: -row["bytes"])

    def served_by(self) -> dict[str, Any]:
        """The plugins that serve the architecture, the tokenizer and the graph, or the error if none does.

        `backends` has a row for every installed backend, with the operations that it `missing`. `chosen` is
        the fastest that misses none.
        """
        spec = self.model.tokenizer
        served: dict[str, Any] = {
            "architecture": self._provider(self._plugins.architectures, self.model.architecture),
            "tokenizer": None if spec is None else self._provider(self._plugins.tokenizers, spec.kind),
            "graph_error": None,
            "backends": [],
            "chosen": None,
        }
        try:
            graph = self.graph()
        except ZigAIError as error:
            served["graph_error"] = failure.describe(error)
            return served
        for name in self._plugins.backends:
            served["backends"].append(self._backend(name, graph))
        able = [row for row in served["backends"] if not row["missing"] and row["error"] is None]
        served["chosen"] = max(able, key=lambda row: row["speed"])["name"] if able else None
        return served

    def kernels(self, progress: Any = None) -> dict[str, Any]:
        """Compile the model as loading would. Returns the program's summary and the kernel of each tensor."""
        prepared = loading.prepare(self.model, self._options, self._plugins)
        report = prepared.compile(progress).report()
        return {
            "backend": report.backend,
            "choice": prepared.choice,
            "context": prepared.options.context,
            "kv_dtype": prepared.options.kv_dtype,
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

    def graph(self) -> Graph:
        """Build the model's graph. Raises what `zigai_core.api.loading.build` does."""
        options = self._options
        context = loading.plan(self.model, options).context
        return loading.build(self.model, context=context, unread=options.unread, plugins=self._plugins)

    def _provider(self, registry: Registry[Any], name: str) -> dict[str, Any]:
        row = {"name": name, "distribution": None, "version": None, "error": None}
        try:
            registry.get(name)
        except ZigAIError as error:
            row["error"] = failure.describe(error)
            return row
        entry = next(entry for entry in registry.entries() if entry.name == name)
        return row | {"distribution": entry.distribution, "version": entry.version}

    def _backend(self, name: str, graph: Graph) -> dict[str, Any]:
        row = self._provider(self._plugins.backends, name) | {"missing": [], "speed": None}
        if row["error"] is not None:
            return row
        try:
            backend = make_backend(name, self._plugins, {})
            missing: Sequence[str] = missing_of(backend, graph, self.model)
        except Exception as error:  # a faulty backend must not hide the others
            return row | {"error": failure.describe(error)}
        return row | {"missing": list(missing), "speed": backend.speed}


def _size(path: Path, files: Sequence[Path]) -> int:
    """Size in bytes of a model in several files, of a file, or of all files directly in a folder."""
    if not files:
        files = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
    return sum(each.stat().st_size for each in files)


def plain(value: Any) -> Any:
    """Convert a hyperparameter to a value that JSON can hold; infinities and NaN become strings."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):  # a string in the file that is not UTF-8
        return value.decode("utf-8", "replace")
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, Sequence):
        return [plain(entry) for entry in value]
    return str(value)
