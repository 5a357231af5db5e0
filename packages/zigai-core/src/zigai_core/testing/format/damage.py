"""The conformance suite for `FormatReader.read`, of models that are damaged or hostile."""

from __future__ import annotations

import shutil
import unittest
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from zigai_core.testing.format import corruptions
from zigai_core.testing.format.foreign import FOREIGN
from zigai_core.testing.format.place import Place
from zigai_core.testing.format.settings import FormatSuite
from zigai_core.testing.format.written_model import WrittenModel, overwrite
from zigai_core.testing.memory import traced


class DamageConformance(FormatSuite):
    """Tests of what a reader has to withstand: damage is refused, or read as a sound model."""

    def test_a_model_cut_short_at_any_byte_is_refused(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        count = max(self.cuts // len(written.files), 4)
        cuts = self._damage(written, lambda content, spans: corruptions.cuts(content, spans, count))
        for place, what, damaged, refused in cuts:
            short = len(damaged) < place.end
            assert refused or not short, f"{what}: was read, though tensors end at byte {place.end}"

    def test_flipped_bits_end_in_an_error_or_a_sound_model(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        count, first = self._counts(written)
        done = self._damage(written, lambda content, spans: corruptions.flips(content, spans, first, count))
        assert [*done]

    def test_extreme_numbers_in_words_end_in_an_error_or_a_sound_model(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        count, first = self._counts(written)
        done = self._damage(written, lambda content, spans: corruptions.words(content, spans, first, count))
        assert [*done]

    def test_extreme_numbers_in_text_end_in_an_error_or_a_sound_model(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        count, _ = self._counts(written)
        done = self._damage(written, lambda content, spans: corruptions.numbers(content, spans, count))
        if not [*done]:
            raise unittest.SkipTest("no file has a decimal number in text outside of its tensors")

    def test_a_model_without_one_of_its_files_is_refused(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        places = self._places(written)
        with traced():
            for file, place in places.items():
                content = file.read_bytes()
                needed = file == written.path or place.end > 0
                file.unlink()
                for what in (f"{file.name} is missing", f"{file.name} is a folder"):
                    refused = self._refusal(written, what) is not None
                    assert refused or not needed, f"{what}: was read, though it holds tensors"
                    file.mkdir(exist_ok=True)
                file.rmdir()
                file.write_bytes(content)

    def test_contents_of_other_formats_are_refused(self, tmp_path: Path) -> None:
        written = self._written(tmp_path)
        places = self._places(written)
        with traced():
            for file, place in places.items():
                content = file.read_bytes()
                for name, other in FOREIGN.items():
                    file.write_bytes(other)
                    what = f"{file.name} is of {name}"
                    refused = self._refusal(written, what) is not None
                    needed = place.end > 0 and name not in self.recognises_also
                    assert refused or not needed, f"{what}: was read without its tensors"
                file.write_bytes(content)

    def test_hostile_models_of_the_format_are_refused(self, tmp_path: Path) -> None:
        root = tmp_path / "hostile"
        root.mkdir()
        count = 0
        with traced():
            for count, (what, path, *expected) in enumerate(self.damaged(root / "model"), 1):  # noqa: B007
                refusal = self._refusal(WrittenModel(root, path), what)
                assert refusal is not None, f"{what}: was read"
                for text in expected:
                    assert text in str(refusal), f"{what}: the error lacks {text!r}: {refusal}"
                shutil.rmtree(root)
                root.mkdir()
        if not count:
            raise unittest.SkipTest("`damaged` yields no hostile models that only this format can have")

    def _places(self, written: WrittenModel) -> dict[Path, Place]:
        tensors = [each.data.tobytes() for each in self._read(written.path).tensors.values()]
        return {file: Place.of(file.read_bytes(), tensors) for file in written.files}

    def _damage(
        self, written: WrittenModel, damage: Callable[[bytes, Sequence[range]], Iterable[corruptions.Damaged]]
    ) -> Iterator[tuple[Place, str, bytes, bool]]:
        """Reads the model with each of its files damaged by `damage(content, spans)`.

        `spans` are the bytes that are no tensor's data. Yields the place of its tensors, what was done, the
        damaged content, and whether it was refused.
        """
        places = self._places(written)
        with traced():
            for file, place in places.items():
                content = file.read_bytes()
                for how, damaged in damage(content, place.spans):
                    overwrite(file, damaged)
                    what = f"{file.name}, {how}"
                    yield place, what, damaged, self._refusal(written, what) is not None
                overwrite(file, content)
