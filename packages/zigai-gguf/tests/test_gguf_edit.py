"""Files split, merged, and with other metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.api.registry import Plugins
from zigai_core.contracts.errors import FormatError
from zigai_core.ops.blocks import decoder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.toys import toy_decoder
from zigai_gguf import GGUFFile, GGUFFormat, Typed, ValueType, edit, write_gguf, writer
from zigai_gguf.convert import convert


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of six tensors, 512 bytes each but for the last of 2,048."""
    path = tmp_path / "model.gguf"
    keys: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "tokenizer.ggml.tokens": ["a", "b"],
        "llama.rope.freq_base": 10000.0,
    }
    tensors = {f"t{number}": np.full((4, 32), number, np.float32) for number in range(5)}
    write_gguf(path, keys, {**tensors, "large": np.ones((16, 32), np.float32)}, alignment=64)
    return path


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ({"max_bytes": 1024}, [2, 2, 1, 1]),
        ({"max_bytes": 1}, [1, 1, 1, 1, 1, 1]),
        ({"max_tensors": 4}, [4, 2]),
        ({"max_bytes": 1600, "max_tensors": 2}, [2, 2, 1, 1]),
    ],
)
def test_a_split_model_is_the_same_and_merges_to_the_same_bytes(
    model: Path, tmp_path: Path, sizes: dict[str, int], counts: list[int]
) -> None:
    steps: list[tuple[int, int]] = []
    paths = edit.split(model, tmp_path / "part", **sizes, progress=lambda *step: steps.append(step))
    assert [path.name for path in paths] == [
        f"part-{number:05}-of-{len(counts):05}.gguf" for number in range(1, len(counts) + 1)
    ]
    files = [GGUFFile.open(path) for path in paths]
    assert [len(file.tensors) for file in files] == counts
    assert {file.alignment for file in files} == {64}
    assert steps[-1] == (5 * 512 + 2048, 5 * 512 + 2048)
    whole, parts = GGUFFormat().read(model), GGUFFormat().read(paths[-1])
    assert list(whole.tensors) == list(parts.tensors)
    assert dict(whole.hyperparameters.items()) == dict(parts.hyperparameters.items())
    for name, tensor in whole.tensors.items():
        assert np.array_equal(tensor.data, parts.tensors[name].data)
    out = tmp_path / "merged.gguf"
    edit.merge(paths[1], out)
    assert out.read_bytes() == model.read_bytes()
    with pytest.raises(FormatError, match="in one file, so there is nothing to merge"):
        edit.merge(out, tmp_path / "again.gguf")


def test_a_split_that_is_not_possible_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FormatError, match="fit in one part"):
        edit.split(model, tmp_path / "part", max_bytes=10_000)
    (tmp_path / "part-00002-of-00003.gguf").touch()
    with pytest.raises(FormatError, match=r"00002-of-00003\.gguf: exists already"):
        edit.split(model, tmp_path / "part", max_tensors=2)
    (tmp_path / "part-00002-of-00003.gguf").unlink()

    def stop(done: int, total: int) -> None:
        if done > 1500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edit.split(model, tmp_path / "part", max_tensors=2, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    with pytest.raises(FormatError, match="cannot be written: No such file or directory"):
        edit.split(model, tmp_path / "absent" / "part", max_tensors=2)
    monkeypatch.setattr(edit.limits, "PARTS", 2)
    with pytest.raises(FormatError, match="3 parts, of which at most 2 can be read"):
        edit.split(model, tmp_path / "part", max_tensors=2)


def test_a_full_disk_is_named_before_anything_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr(writer.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(FormatError, match="takes 4,608 bytes, and 100 are free in"):
        edit.split(model, tmp_path / "part", max_tensors=2)


def test_metadata_is_set_with_the_type_of_the_file_and_removed(model: Path, tmp_path: Path) -> None:
    values = {"llama.rope.freq_base": 5, "mine.level": Typed(ValueType.UINT8, 3), "mine.words": ["x"]}
    edit.set_metadata(model, values, model)
    file = GGUFFile.open(model)
    assert file.metadata["llama.rope.freq_base"] == 5.0
    assert file.metadata.value_type("llama.rope.freq_base") is ValueType.FLOAT32
    assert file.metadata.value_type("mine.level") is ValueType.UINT8
    assert [*file.metadata["mine.words"]] == ["x"]
    assert np.array_equal(file.tensors["t3"].to_float32(), np.full((4, 32), 3))
    edit.remove_metadata(model, ["mine.level", "mine.words"], tmp_path / "out.gguf")
    assert [*GGUFFile.open(tmp_path / "out.gguf").metadata] == [
        *(key for key in file.metadata if not key.startswith("mine."))
    ]
    before = model.read_bytes()
    for change, error in (
        (
            lambda: edit.remove_metadata(model, ["mine.levle"], model),
            "no metadata 'mine.levle'; did you mean",
        ),
        (lambda: edit.remove_metadata(model, ["general.architecture"], model), "would not open any more"),
        (lambda: edit.set_metadata(model, {"llama.block_count": "x"}, model), "cannot be stored as UINT32"),
    ):
        with pytest.raises(FormatError, match=error):
            change()
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    "values",
    [
        {"general.architecture": ""},
        {"split.count": Typed(ValueType.UINT16, 3)},
        {"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": Typed(ValueType.FLOAT32, [1.0])},
    ],
)
def test_values_with_which_a_model_would_not_open_are_refused(
    model: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    before = model.read_bytes()
    for out in (model, tmp_path / "other.gguf"):
        with pytest.raises(FormatError, match=r"model\.gguf: would not open any more, and stays as it is: "):
            edit.set_metadata(model, values, out)
    assert model.read_bytes() == before
    assert list(tmp_path.iterdir()) == [model]


def test_a_file_that_does_not_open_can_be_repaired(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    write_gguf(broken, {"general.name": "x"}, {"a": np.ones(4, np.float32)})
    edit.set_metadata(broken, {"general.architecture": "llama"}, broken)
    assert GGUFFormat().read(broken).architecture == "llama"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A model of two layers that `PLUGINS` build, but for a stray hyperparameter."""
    path = tmp_path / "built.gguf"
    convert(toy_decoder(), path, plugins=PLUGINS)
    return path


PLUGINS = Plugins(
    architectures={
        name: lambda model, *, context: decoder(model, context=context, pairing="adjacent")
        for name in ("llama", "same")
    },
    backends={"numpy": NumpyBackend},
)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"llama.block_count": 1}, "does not read 9 of its tensors"),
        ({"llama.block_count": 3}, r"blk\.2\."),
        ({"llama.attention.head_count": 3}, "head_count"),
        ({"llama.attention.head_count_kv": 4}, "attn_k"),
        ({"general.architecture": "same"}, r"same\."),
        ({"general.architecture": "lama"}, "no installed package serves the architecture 'lama'"),
        ({"llama.attention.sliding_window": 3}, "sliding_window=3"),
        ({"llama.context_length": 0}, "context_length is 0"),
    ],
)
def test_values_with_which_the_graph_would_not_be_built_are_refused(
    built: Path, values: dict[str, Any], error: str
) -> None:
    before = built.read_bytes()
    with pytest.raises(FormatError, match=f"graph would not be built here any more, .*: .*{error}"):
        edit.set_metadata(built, values, built, plugins=PLUGINS)
    assert built.read_bytes() == before
    assert [*built.parent.iterdir()] == [built]


@pytest.mark.parametrize(
    "values",
    [
        {"general.architecture": "not-installed"},
        {"llama.rope.scaling.type": "of-llama.cpp"},
        {"split.count": Typed(ValueType.UINT16, 3)},  # does not open
    ],
)
def test_a_refused_value_is_written_if_it_is_forced(built: Path, values: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"--force \(force=True\) writes it all the same"):
        edit.set_metadata(built, values, built, plugins=PLUGINS)
    tensors = {name: tensor.to_float32() for name, tensor in GGUFFile.open(built).tensors.items()}
    edit.set_metadata(built, values, built, plugins=PLUGINS, force=True)
    file = GGUFFile.open(built)
    for key, value in values.items():
        assert file.metadata[key] == (value.value if isinstance(value, Typed) else value)
    assert all(np.array_equal(file.tensors[name].to_float32(), tensors[name]) for name in tensors)


def test_a_key_is_removed_all_the_same_if_that_is_forced(built: Path) -> None:
    edit.remove_metadata(built, ["general.architecture"], built, plugins=PLUGINS, force=True)
    assert "general.architecture" not in GGUFFile.open(built).metadata


def test_a_refusal_comes_before_tensors_are_written_and_without_advice_for_loading(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(edit, "write_gguf", lambda *arguments, **keywords: written.append(arguments))
    with pytest.raises(FormatError) as caught:
        edit.set_metadata(built, {"llama.block_count": 1}, built, plugins=PLUGINS)
    assert not written
    assert "does not read 9 of its tensors" in str(caught.value)
    assert "unread=" not in str(caught.value)
    assert "Update the package" not in str(caught.value)
    edit.set_metadata(built, {"general.name": "other"}, built, plugins=PLUGINS)
    assert len(written) == 1


def test_a_key_without_which_the_graph_would_not_be_built_stays(built: Path) -> None:
    with pytest.raises(FormatError, match=r"not be built here.*llama\.attention\.head_count'? is missing"):
        edit.remove_metadata(built, ["llama.attention.head_count"], built, plugins=PLUGINS)
    edit.remove_metadata(built, ["general.name"], built, plugins=PLUGINS)


def test_an_edit_that_keeps_the_graph_is_written(built: Path) -> None:
    edit.set_metadata(built, {"llama.rope.freq_base": 500.0}, built, plugins=PLUGINS)
    names = {key.replace("llama.", "same."): value for key, value in GGUFFile.open(built).metadata.items()}
    other = {key: value for key, value in names.items() if key.startswith("same.")}
    edit.set_metadata(built, {"general.architecture": "same", **other}, built, plugins=PLUGINS)
    assert GGUFFormat().read(built).architecture == "same"


def test_without_a_plugin_for_the_architecture_its_graph_is_not_checked(built: Path) -> None:
    edit.set_metadata(built, {"llama.attention.head_count": 3}, built, plugins=Plugins())
    assert GGUFFile.open(built).metadata["llama.attention.head_count"] == 3
    # The file is broken already, so that further edits must be possible.
    edit.set_metadata(built, {"llama.block_count": 1}, built, plugins=PLUGINS)


def test_a_key_that_looks_like_a_mistake_is_added_only_as_a_new_one(model: Path) -> None:
    before = model.read_bytes()
    for key, meant in {
        "block_count": "llama.block_count",
        "llama.blok_count": "llama.block_count",
        "llama.rope_freq_base": "llama.rope.freq_base",
        "llama.context_lenght": "llama.context_length",  # which the file lacks
        "chat_template": "tokenizer.chat_template",
        "general.nmae": "general.name",
    }.items():
        with pytest.raises(FormatError) as caught:
            edit.set_metadata(model, {key: 1}, model)
        assert f"model.gguf: has no metadata '{key}', and no such key is known" in str(caught.value)
        assert f"did you mean '{meant}'" in str(caught.value)
        assert "? --new (new=True) adds it" in str(caught.value)
    assert model.read_bytes() == before
    edit.set_metadata(model, {"llama.context_length": 64, "general.name": "x", "mine.size": 3}, model)
    edit.set_metadata(model, {"mine.sizes": 4}, model, new=True)
    assert [*GGUFFile.open(model).metadata][-4:] == [
        *("llama.context_length", "general.name", "mine.size", "mine.sizes")
    ]


def test_the_alignment_is_that_of_the_new_metadata(model: Path) -> None:
    edit.set_metadata(model, {"general.alignment": Typed(ValueType.UINT32, 128)}, model)
    assert GGUFFile.open(model).alignment == 128
    with pytest.raises(FormatError, match="the alignment is 3"):
        edit.set_metadata(model, {"general.alignment": 3}, model)
    edit.remove_metadata(model, ["general.alignment", "general.alignment"], model)
    assert GGUFFile.open(model).alignment == 32


def test_only_the_file_itself_is_replaced(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"mine")
    with pytest.raises(FormatError, match=r"other\.gguf: exists already"):
        edit.set_metadata(model, {"a": 1}, other)
    assert other.read_bytes() == b"mine"
