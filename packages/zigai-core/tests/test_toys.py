"""Random tensors of toys."""

from __future__ import annotations

import numpy as np
import pytest

from zigai_core.contracts.dtypes import DTYPES
from zigai_core.testing.toys import random_tensor


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("std", [0.25, 1.0])
def test_a_random_tensor_of_every_type_has_about_the_deviation_asked_for(dtype: str, std: float) -> None:
    tensor = random_tensor("w", (64, 1024), dtype, np.random.RandomState(0), std)
    values = tensor.to_float32()
    assert tensor.dtype.name == dtype and tensor.data.shape == (DTYPES[dtype].nbytes((64, 1024)),)
    assert std / 2 < values.std() < 2 * std and abs(values.mean()) < std
