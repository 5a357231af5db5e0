"""`locate`: paths, prefixes, aliases, and what is said of names that are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from zigai_core.api.loading import load
from zigai_core.api.registry import Plugins, Registry
from zigai_core.api.sources import locate
from zigai_core.contracts.errors import DownloadError, MissingFileError, PluginError, UnsupportedError
from zigai_core.contracts.sources import DownloadProgress, Offer, StoredModel


class ToySource:
    """Aliases in `targets`; every other name is a file in `folder`, which `pull` writes."""

    folder = Path()
    targets: dict[str, str] = {}  # tests replace it

    def target(self, name: str) -> str | None:
        return self.targets.get(name)

    def find(self, name: str) -> Path | None:
        path = self.folder / name
        return path if path.exists() else None

    def pull(self, name: str, progress: DownloadProgress | None = None) -> Path:
        path = self.folder / name
        if progress:
            progress(name, 5, 5)
        path.write_bytes(b"bytes")
        return path

    def stored(self, name: str | None = None) -> Sequence[StoredModel]:
        return ()

    def remove(self, name: str) -> int:
        return 0

    def offered(self) -> Sequence[Offer]:
        return [Offer(name, "", 0, "", model) for name, model in self.targets.items()]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ToySource, "folder", tmp_path)
    monkeypatch.setattr(
        ToySource, "targets", {"small": "toy:one", "loop": "loop", "file": str(tmp_path / "f")}
    )
    return Plugins(sources={"toy": ToySource, "alias": ToySource})


def test_a_path_and_an_existing_file_are_themselves(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "small").touch()
    assert locate("small", plugins=plugins) == Path("small")
    assert locate(Path("toy:one"), plugins=plugins) == Path("toy:one")
    assert locate("folder/model.gguf", plugins=plugins) == Path("folder/model.gguf")


def test_a_name_is_pulled_once_and_then_found(
    plugins: Plugins, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DownloadError, match="zig-ai pull small"):
        locate("small", plugins=plugins, pull=False)
    seen: list[tuple[str, int, int]] = []
    assert locate("small", plugins=plugins, progress=lambda *step: seen.append(step)) == tmp_path / "one"
    assert seen == [("one", 5, 5)]
    assert locate("toy:one", plugins=plugins, pull=False) == tmp_path / "one"
    assert not caplog.records
    locate("toy:two", plugins=plugins)
    assert "toy:two is not on this machine: downloading it" in caplog.text


def test_an_alias_may_stand_for_a_path_but_not_for_itself(plugins: Plugins, tmp_path: Path) -> None:
    assert locate("file", plugins=plugins) == tmp_path / "f"
    with pytest.raises(DownloadError, match="aliases that stand for each other"):
        locate("loop", plugins=plugins)


def test_an_unknown_prefix_names_the_package_and_a_missing_file_a_near_alias(plugins: Plugins) -> None:
    hints = Registry("zigai.hints", {"x": {"zigai.sources": {"hf": "zigai-hub"}}})
    bare = Plugins(sources=Registry("zigai.sources", hints=hints))
    with pytest.raises(UnsupportedError, match="pip install --upgrade zigai-hub"):
        locate("hf:a/b", plugins=bare)
    assert locate("small", plugins=bare) == Path("small")
    with pytest.raises(MissingFileError, match=r"did you mean small\?"):
        locate("smal.l", plugins=plugins)
    assert locate(r"C:\\models\\a.gguf", plugins=plugins) == Path(r"C:\\models\\a.gguf")


class SuggestingToySource(ToySource):
    def suggests(self, name: str) -> str | None:
        return f"the toy is odd:{name}" if name.endswith("toy") else None


def test_a_source_is_asked_what_is_meant_by_a_name_that_is_none(plugins: Plugins, tmp_path: Path) -> None:
    known = Plugins(sources={"plain": ToySource, "odd": SuggestingToySource})
    for name in ("a/toy", "a/b/toy", "a b/toy"):
        with pytest.raises(MissingFileError, match=f"^{name}: there is no such .*; the toy is odd:{name}$"):
            locate(name, plugins=known)
    assert locate("a/other", plugins=known) == Path("a/other")
    assert locate("a/toy", plugins=plugins) == Path("a/toy")  # of sources that suggest nothing
    (tmp_path / "here").mkdir()
    for path in ("here/toy", "./toy", "../toy", "/a/toy"):
        assert locate(path, plugins=known) == Path(path)
    assert locate(Path("a/toy"), plugins=known) == Path("a/toy")

    class Broken(ToySource):
        def suggests(self, name: str) -> str | None:
            raise KeyError(name)

    with pytest.raises(PluginError, match="the model source 'bad' failed: KeyError"):
        locate("a/b", plugins=Plugins(sources={"bad": Broken}))


def test_a_source_that_fails_or_lacks_methods_is_named(plugins: Plugins) -> None:
    with pytest.raises(PluginError, match="'odd' lacks methods"):
        locate("odd:x", plugins=Plugins(sources={"odd": object}))  # type: ignore[dict-item]

    class Broken(ToySource):
        def find(self, name: str) -> Path | None:
            raise KeyError(name)

    with pytest.raises(PluginError, match="the model source 'bad' failed: KeyError"):
        locate("bad:x", plugins=Plugins(sources={"bad": Broken}))


def test_load_takes_names(plugins: Plugins) -> None:
    with pytest.raises(DownloadError, match="aliases that stand for each other"):
        load("loop", plugins=plugins)
