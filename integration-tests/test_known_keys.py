"""`gguf set`, `remove` and `show` know the keys of all models that the families serve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from zigai_gguf.known_keys import KNOWN

ORACLES = sorted((Path(__file__).parents[1] / "packages").glob("*/tests/oracles*/*.npz"))


def test_every_hyperparameter_of_a_familys_models_is_a_known_key() -> None:
    assert ORACLES
    unknown: dict[str, str] = {}
    for path in ORACLES:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
        unknown |= {key: path.name for key in about["hyperparameters"] if f"{{arch}}.{key}" not in KNOWN}
    assert not unknown
