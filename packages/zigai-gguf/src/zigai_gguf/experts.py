"""Experts that are stored one by one, as in the first files of Mixtral, joined to one tensor of each layer.

Source: llama.cpp, which made them one tensor in March 2024 (pull request 6387) and read both forms later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from zigai_core.contracts.descriptor import JoinedTensor, TensorInfo
from zigai_core.contracts.errors import FormatError, quote

_EXPERT = re.compile(r"(blk\.\d{1,5}\.ffn_(?:gate|down|up))\.(\d{1,5})\.weight")


def join_experts(tensors: Mapping[str, TensorInfo], path: Path) -> Mapping[str, TensorInfo]:
    """Returns the tensors with `blk.0.ffn_up.0.weight`, `….1.weight`, … as one `blk.0.ffn_up_exps.weight`.

    Raises `FormatError` if the number of an expert is missing, or if a file has both forms.
    """
    joined: dict[str, TensorInfo] = {}
    experts: dict[str, dict[int, TensorInfo]] = {}
    for name, tensor in tensors.items():
        found = _EXPERT.fullmatch(name)
        if found is None:
            joined[name] = tensor
        else:
            experts.setdefault(f"{found[1]}_exps.weight", {})[int(found[2])] = tensor
    for name, parts in experts.items():
        missing = next((number for number in range(len(parts)) if number not in parts), None)
        if missing is not None:
            raise FormatError(f"{path}: of the experts of {quote(name)}, number {missing} is missing")
        if name in joined:
            raise FormatError(f"{path}: holds {quote(name)}, and its experts one by one, too")
        joined[name] = JoinedTensor(name, [parts[number] for number in range(len(parts))])
    return joined
