"""Refuses a model with tensors or hyperparameters that its architecture should read but does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np

from zigai_core.api.installed import report
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo
from zigai_core.contracts.errors import UnsupportedError, escape, quote
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.hyperparameter_keys import NEUTRAL, READ_ELSEWHERE, changes_numbers

LOG = logging.getLogger("zigai")

CHECKED_BYTES = 1 << 24
"""Largest unread tensor, in bytes, whose values are checked for being all zeros or all ones."""


class UnreadError(UnsupportedError):
    """An architecture does not read something that affects the results.

    `finding` is the text without the advice for those who load the model.
    """

    def __init__(self, finding: str, advice: str) -> None:
        super().__init__(f"{finding}. {advice}")
        self.finding = finding


def check_unread(
    model: ModelDescriptor, hp: Hyperparameters, graph: Graph, *, context: int, how: str
) -> None:
    """Checks that `graph` depends on every tensor, and the architecture on every hyperparameter that matters.

    Exempt are tensors that the graph leaves out with a reason, biases of zeros and scales of ones, and
    hyperparameters that do not change numbers. `hp`: the hyperparameters passed to the architecture, which
    record what was read. `how`: `error` raises `UnreadError`, `warn` logs a warning with the same text.
    """
    used = {weight.name for weight in graph.weights} | graph.constants
    tensors = [tensor for name, tensor in model.tensors.items() if name not in used]
    unread = [tensor.name for tensor in _not_left_out(model, graph, tensors) if not _is_neutral(tensor)]
    keys = [key for key in hp if key not in hp.read]
    wrong = [key for key in keys if changes_numbers(hp, key, context=context)]
    unknown = [key for key in keys if key not in NEUTRAL and key not in READ_ELSEWHERE]
    if unknown:
        LOG.info("%s: hyperparameters that nothing reads: %s", model.name, _some(unknown))
    parts = []
    if unread:
        parts.append(f"{len(unread)} of its tensors ({_some(unread)})")
    if wrong:
        parts.append(f"the hyperparameters {_some([_setting(key, hp) for key in wrong])}")
    if not parts:
        return
    message = (
        f"{model.path or model.name}: the architecture {model.architecture} does not read "
        f"{' and '.join(parts)}, so its results would be wrong"
    )
    if how == "error":
        raise UnreadError(
            message,
            f"Update the package that serves {model.architecture}, or ignore them: unread='warn' "
            "(--unread warn)",
        )
    LOG.warning("%s", message)


def _not_left_out(
    model: ModelDescriptor, graph: Graph, tensors: Sequence[TensorInfo]
) -> Iterator[TensorInfo]:
    """The tensors that match no pattern of `Graph.left_out`; each reason for the others is logged once."""
    reasons: dict[str, dict[str, None]] = {}
    for tensor in tensors:
        matching = [pattern for pattern in graph.left_out if fnmatchcase(tensor.name, pattern)]
        if not matching:
            yield tensor
        for pattern in matching:
            reasons.setdefault(graph.left_out[pattern], {})[pattern] = None
    for reason, patterns in reasons.items():
        report(f"{model.architecture} leaves out {', '.join(patterns)}: {reason}")


def _is_neutral(tensor: TensorInfo) -> bool:
    """True for a bias of zeros or a scale of ones, which do not change numbers."""
    kind = tensor.name.rsplit(".", 1)[-1]
    if kind not in ("bias", "scale", "input_scale") or tensor.nbytes > CHECKED_BYTES:
        return False
    return bool(np.all(tensor.to_float32() == (0 if kind == "bias" else 1)))


def _setting(key: str, hp: Hyperparameters) -> str:
    value = next(value for name, value in hp.items() if name == key)
    return f"{escape(key, 80)}={quote(value, 40)}"


def _some(names: Sequence[str]) -> str:
    shown = [escape(name, 120) for name in names[:5]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
