"""The conformance suite for formats, as a class of tests to inherit from.

>>> class TestMyFormat(FormatConformance):       # doctest: +SKIP
...     reader = MyFormat
...     def write(self, model, path):
...         write_my_format(path.with_suffix(".mine"), model)
...         return path.with_suffix(".mine")
"""

from __future__ import annotations

import unittest
from pathlib import Path

from zigai_core.api.installed import scan_once
from zigai_core.api.reading import read
from zigai_core.api.registry import Plugins, Registry
from zigai_core.contracts.plugins import FormatReader
from zigai_core.testing.format.damage import DamageConformance
from zigai_core.testing.format.reading import ReadingConformance
from zigai_core.testing.format.recognition import RecognitionConformance


class FormatConformance(RecognitionConformance, ReadingConformance, DamageConformance):
    """All tests of a format. Inherit, set `reader` and override `write`; for the rest see `FormatSuite`."""

    def test_the_class_gives_readers_without_arguments(self, tmp_path: Path) -> None:
        try:
            reader = type(self).reader()
        except TypeError as error:
            raise AssertionError(f"the class cannot be called without arguments: {error}") from error
        assert isinstance(reader, FormatReader), f"{reader!r} lacks recognises or read"

    def test_a_model_is_read_by_the_plugin_that_recognises_it(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        plugins = Plugins(formats={"tested": type(self).reader})
        found, expected = read(written.path, plugins=plugins).tensors.keys(), self.toy().tensors.keys()
        assert found == expected, (
            f"zigai.read({written.path.name!r}) gives other tensors than those written; missing: "
            f"{sorted(expected - found)}, not written: {sorted(found - expected)}"
        )

    def test_the_package_registers_the_class(self) -> None:
        if not self.entry_point:
            raise unittest.SkipTest("`entry_point` is empty")
        registered: Registry[object] = Registry("zigai.formats", installed=scan_once())
        found = registered.get(self.entry_point)
        assert found is type(self).reader, f"{self.entry_point} is registered as {found!r}"
