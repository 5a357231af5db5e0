"""Whether a file with other metadata opens as a model, and whether its graph is still built."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zigai_core.api import loading
from zigai_core.api.registry import Plugins
from zigai_core.api.unread import UnreadError
from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError, ZigAIError
from zigai_core.contracts.load_options import LoadOptions
from zigai_gguf.describe import describe
from zigai_gguf.format import GGUFFormat
from zigai_gguf.parts import open_model
from zigai_gguf.reader import GGUFFile
from zigai_gguf.writer import write_gguf


@dataclass(frozen=True)
class Fitness:
    """Why a file does not open as a model, and why no graph is built of it; None if it does, and is."""

    reading: str | None
    building: str | None

    @classmethod
    def of(cls, read: Callable[[], ModelDescriptor], plugins: Plugins) -> Fitness:
        """The fitness of the model that `read` returns."""
        try:
            model = read()
        except (FormatError, UnsupportedError, ShapeError) as error:
            return cls(str(error), str(error))
        try:
            context = loading.plan(model, LoadOptions()).context
            loading.build(model, context=context, plugins=plugins)
        except UnreadError as error:
            return cls(None, error.finding)  # its advice is for those who load the model
        except ZigAIError as error:  # also of a faulty plugin: then the file before has the same fault
            return cls(None, str(error))
        return cls(None, None)


def check_fitness(path: Path, file: GGUFFile, metadata: Mapping[str, Any], plugins: Plugins) -> None:
    """Raises `FormatError` if the model at `path` is fit for less with `metadata` in place of its own.

    Only metadata is written, to a temporary folder; the tensors are those of `file`.
    """
    before = Fitness.of(lambda: GGUFFormat().read(path), plugins)
    with tempfile.TemporaryDirectory() as folder:
        header = Path(folder, path.name)
        write_gguf(header, metadata)
        after = Fitness.of(
            lambda: describe(replace(open_model(header), tensors=file.tensors, parts=())), plugins
        )
    force = "--force (force=True) writes it all the same"
    if before.reading is None and after.reading is not None:
        why = after.reading.replace(str(header), "the new file")
        raise FormatError(f"{path}: would not open any more, and stays as it is: {why}; {force}")
    if before.building is None and after.building is not None:
        why = after.building.replace(str(header), "the new file")
        raise FormatError(
            f"{path}: its graph would not be built here any more, so it stays as it is: {why}; {force}, for "
            "programs other than this ZigAI"
        )
