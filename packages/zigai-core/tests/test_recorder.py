"""The recorder of oracles ends every failure with one line, and leaves no half-written file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, ShapeError, UnsupportedError
from zigai_core.testing.oracles import Oracle
from zigai_core.testing.oracles import record as recorder
from zigai_core.testing.oracles.cases import cases
from zigai_core.testing.oracles.tiny_folder import TinyFolder, class_named, configuration, elements

ORACLE = Oracle.load(Path(__file__).parent / "data" / "oracles" / "window.npz")


class Config:
    """Stands for a class of configurations of transformers."""

    def __init__(self, hidden_size: int = 8, num_hidden_layers: int = 2, **more: Any) -> None:
        if not isinstance(hidden_size, int):
            raise TypeError("hidden_size expected int")
        self.hidden_size, self.num_hidden_layers = hidden_size, num_hidden_layers
        vars(self).update(more)

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def get_text_config(self) -> Config:
        return self


class Network:
    """Stands for a class of models of transformers."""

    config_class = Config

    def __init__(self, config: Config) -> None:
        raise KeyError("no such activation")

    @classmethod
    def from_pretrained(cls, path: Path) -> None:
        raise AssertionError


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = SimpleNamespace(set_verbosity_error=lambda: None, disable_progress_bar=lambda: None)
    tiny = SimpleNamespace(__version__="0", logging=quiet, Net=Network, Config=Config, helper=len)
    monkeypatch.setitem(sys.modules, "transformers", tiny)

    class Context:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    def context(*_: object) -> Context:
        return Context()

    torch = SimpleNamespace(
        device=context, no_grad=context, tensor=lambda rows: rows, float32="f", manual_seed=int
    )
    monkeypatch.setitem(sys.modules, "torch", torch)


@pytest.fixture
def run(
    library: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs the recorder with cases of this text: exit code, standard output and standard error."""

    def called(text: str | None, *arguments: str, record: Any = None) -> tuple[int, str, str]:
        if text is not None:
            (tmp_path / "cases.toml").write_text(text)
        if record is not None:
            monkeypatch.setattr(recorder, "record", record)
        code = recorder.main([str(tmp_path), *arguments])
        out, error = capsys.readouterr()
        return code, out, error

    return called


def recorded(name: str, model_class: str, config: Mapping[str, Any], **settings: Any) -> Oracle:
    return ORACLE


ONE = '[a]\nclass = "Net"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory; name a folder that holds cases.toml"),
        ("", "has no case"),
        ("[a", "is not TOML in UTF-8"),
        ("a = 3", "'a' is 3, but must be a table"),
        ("[a]\nclass = 3", "'a': class is 3, but must be the name of a class"),
        ('[a]\nclass = "x.y"', "'a': class is 'x.y', but must be the name of a class"),
        ('["../a"]\nclass = "Net"', "'../a' is not the name of a file"),
        ('[""]\nclass = "Net"', "'' is not the name of a file"),
        (ONE + "config = 3", "'a': config is 3, but must be a table"),
        (ONE + "tokens = 2", r"'a': tokens is 2, but must be a whole number within 3\.\.4096"),
        (ONE + "tokens = 4097", "'a': tokens is 4097"),
        (ONE + "pair = 0", r"'a': pair is 0, but must be the place of the token .* within 1\.\.39"),
        (ONE + "tokens = 9\npair = 9", r"'a': pair is 9, but must .* within 1\.\.8"),
        (ONE + "pair = true", "'a': pair is True"),
        (ONE + 'pair = 3\nforward = "f.py"', "'a': has pair and forward, which is given no types"),
        (ONE + "tokens = true", "'a': tokens is True"),
        (ONE + 'tokens = "x"', "'a': tokens is 'x'"),
        (ONE + 'seed = "x"', r"'a': seed is 'x', but must be a whole number within 0\.\.4294967295"),
        (ONE + "seed = -1", "'a': seed is -1"),
        (ONE + 'without = "x"', "'a': without is 'x', but must be an array"),
        (ONE + "without = [3]", r"'a': without is \[3\], but must be an array"),
        (ONE + "forward = 3", "'a': forward is 3, but must be the name of a script"),
        (ONE + 'forward = "../f.py"', r"'a': forward is '\.\./f\.py', but must be the name of a script"),
        (ONE + 'save = "f.py"', r"'a': save names .*f\.py, which is no file"),
    ],
)
def test_a_case_that_is_not_valid_is_named_with_its_key(
    text: str | None, message: str, run: Any, tmp_path: Path
) -> None:
    code, out, error = run(text)
    assert (code, out, error.count("\n")) == (1, "", 1)
    with pytest.raises(FormatError, match=message) as found:
        cases(tmp_path)
    assert error == f"{found.value}\n"
    assert error.startswith(f"{tmp_path / 'cases.toml'}: ")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("x = 1", "which must define the function change"),
        ("change = 1", "which must define the function change"),
        ("def (", "the script fails: SyntaxError"),
        ("raise SystemExit(0)", "the script fails: SystemExit: 0"),
        ("def change(made):\n    raise KeyError('odd')", "the function change fails: KeyError: 'odd'"),
        ("def change(made):\n    return None", "the function change returns None, but must return an oracle"),
    ],
)
def test_a_script_that_fails_is_named(script: str, message: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(script)
    code, out, error = run(ONE + 'change = "f.py"', record=recorded)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert message in error
    assert not [*tmp_path.glob("*.npz*")]


def test_a_name_that_no_case_has_is_wrong_usage(run: Any, tmp_path: Path) -> None:
    code, out, error = run(ONE, "a", "b", record=recorded)
    assert (code, out) == (2, "")
    assert error == f"{tmp_path / 'cases.toml'}: has no case 'b'; it has a\n"
    assert not (tmp_path / "a.npz").exists()


def test_only_the_cases_that_are_named_are_recorded(run: Any, tmp_path: Path) -> None:
    code, _, error = run(ONE + '[b]\nclass = "Net"\n', "b", record=recorded)
    assert (code, error) == (0, "")
    assert [path.name for path in tmp_path.glob("*.npz")] == ["b.npz"]


def test_an_error_of_a_case_is_one_line_with_its_file_and_the_others_are_recorded(
    run: Any, tmp_path: Path
) -> None:
    def record(name: str, *_: Any, **__: Any) -> Oracle:
        if name == "a":
            raise UnsupportedError("it fails")
        return ORACLE

    code, _, error = run(ONE + '[b]\nclass = "Net"\n', record=record)
    assert (code, error) == (1, f"{tmp_path / 'a.npz'}: it fails\n")
    assert (tmp_path / "b.npz").exists()


def test_ctrl_c_leaves_what_was_recorded_before(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    (tmp_path / "a.npz").write_bytes(b"before")
    monkeypatch.setattr(np, "savez_compressed", interrupted)
    code, out, error = run(ONE, record=recorded)
    assert (code, out, error) == (130, "", "interrupted: the case at hand is not recorded\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "cases.toml"]
    assert (tmp_path / "a.npz").read_bytes() == b"before"


def test_a_disk_that_is_full_leaves_what_was_recorded_before(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "a.npz").write_bytes(b"before")
    monkeypatch.setattr(np, "savez_compressed", full)
    code, out, error = run(ONE, record=recorded)
    assert (code, out) == (1, "")
    assert error == f"{tmp_path / 'a.npz'}: cannot be written: No space left on device\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "cases.toml"]
    assert (tmp_path / "a.npz").read_bytes() == b"before"


def test_a_path_that_is_a_folder_is_not_written(run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    code, _, error = run(ONE, record=recorded)
    assert (code, error) == (1, f"{tmp_path / 'a.npz'}: cannot be written: Is a directory\n")


def test_an_oracle_to_compare_with_is_read_before_the_model_is_made(run: Any, tmp_path: Path) -> None:
    code, _, error = run(ONE, "--check")
    assert (code, error) == (1, f"{tmp_path / 'a.npz'}: there is no such oracle; record it first\n")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
    code, _, error = run(ONE, "--check")
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith(f"{tmp_path / 'a.npz'}: it is not an oracle: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"outputs": {**ORACLE.outputs, "more": next(iter(ORACLE.outputs.values()))}},
            "not the same: output more, which only one has",
        ),
        ({"values": {}}, "not the same: value blk.0.attn_k, which only one has"),
        (
            {"values": {**ORACLE.values, "blk.0.attn_k": ORACLE.values["blk.0.attn_k"] + 1}},
            "largest difference 1.0e+00",
        ),
        ({"rows": (1, 2)}, "not the same: the rows of values"),
        ({"types": (1,) * len(ORACLE.tokens)}, "not the same: the types of tokens"),
    ],
)
def test_every_part_of_a_stored_oracle_is_compared(
    changes: dict[str, Any], message: str, run: Any, tmp_path: Path
) -> None:
    replace(ORACLE, **changes).save(tmp_path / "a.npz")
    code, out, _ = run(ONE, "--check", record=recorded)
    assert code == 1
    assert message in out
    ORACLE.save(tmp_path / "a.npz")
    assert run(ONE, "--check", record=recorded)[0] == 0


def test_without_torch_or_transformers_one_line_says_what_to_install(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("transformers", "torch"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
        code, out, error = run(ONE + '[b]\nclass = "Net"\n')
        assert (code, out, error.count("\n")) == (1, "", 1)
        assert "pip install torch transformers" in error


@pytest.mark.parametrize("name", ["Config", "helper"])
def test_a_class_that_is_no_model_is_refused(name: str, library: None) -> None:
    with pytest.raises(UnsupportedError, match=f"{name} of transformers is no class of a model"):
        class_named(name)


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        # Not written as one word, since a key that the class's module names is one that it may read.
        ({"sur" + "prise": 0}, FormatError, "Net: config has the key 'surprise', which Config does not know"),
        ({"hidden_size": "x"}, UnsupportedError, "Net: its configuration fails: TypeError: hidden_size"),
    ],
)
def test_a_configuration_that_the_class_does_not_take_is_refused(
    config: dict[str, Any], kind: type[Exception], message: str, library: None
) -> None:
    with pytest.raises(kind, match=message):
        configuration("Net", config)


def test_a_model_that_cannot_be_made_or_is_too_large_is_refused(
    library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedError, match="this configuration fails: KeyError: 'no such activation'"):
        elements("Net", Config())
    with pytest.raises(UnsupportedError, match="Net: 257 layers are too many; at most 256 are tried"):
        elements("Net", Config(num_hidden_layers=257))
    monkeypatch.setattr(recorder, "elements", lambda *_: recorder.LARGEST + 1)
    with pytest.raises(UnsupportedError, match="Net: with this configuration it has more than"):
        recorder.record("a", "Net", {})


@pytest.mark.parametrize("size", [0, None, True])
def test_a_vocabulary_that_has_no_tokens_is_refused(
    size: Any, library: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "elements", lambda *_: 1)
    monkeypatch.setattr(recorder, "configuration", lambda *_: Config(vocab_size=size))
    with pytest.raises(FormatError, match=f"Net: vocab_size is {size}, but must be a whole number above 0"):
        recorder.record("a", "Net", {})


class Tensor:
    """Stands for a tensor of torch."""

    def __init__(self, array: Any) -> None:
        self._array = np.array(array, np.float32)

    def detach(self) -> Tensor:
        return self

    float = detach

    def numpy(self) -> np.ndarray:
        return self._array


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returns None, but must return tensors by name"),
        ([1], r"returns \[1\], but must return tensors by name"),
        ({}, "returns {}, but must return tensors by name"),
        ({"logits": 3}, "returns 'logits' as 3, but must return tensors by name"),
        ({3: Tensor([[1], [1]])}, "returns 3 as"),
        ({"logits": Tensor([[1], [1], [1]])}, r"returns 'logits' of shape \(3, 1\), but it must have 2 rows"),
        ({"logits": Tensor([1, 1])}, r"returns 'logits' of shape \(2,\)"),
        ({"logits": Tensor([[1], [np.nan]])}, "returns 'logits' with elements that are not finite"),
    ],
)
def test_outputs_that_are_none_are_refused(
    returned: Any, message: str, library: None, tmp_path: Path
) -> None:
    tiny = TinyFolder(tmp_path, "Net", [1, 2], forward=lambda *_: returned)
    vars(tiny)["network"] = None
    with pytest.raises(ShapeError, match=f"the function forward {message}"):
        tiny.outputs()
    sound = replace(tiny, forward=lambda *_: {"logits": Tensor([[1], [2]])})
    vars(sound)["network"] = None
    np.testing.assert_array_equal(sound.outputs()["logits"], [[1], [2]])


def test_a_head_for_whole_texts_gives_its_scores_once_for_each_token_of_a_pair(
    library: None, tmp_path: Path
) -> None:
    """Types are given to the model, which says what it got."""

    class Scores(Tensor):
        ndim = 2

        def repeat(self, rows: int, columns: int) -> Scores:
            return Scores(np.tile(self._array, (rows, columns)))

    class Ids(list):  # type: ignore[type-arg]
        shape = (1, 2)

    def network(ids: Any, token_type_ids: Any) -> Any:
        return SimpleNamespace(logits=Scores([[*token_type_ids[0], 7]]))

    tiny = TinyFolder(tmp_path, "Net", [1, 2], types=(0, 1))
    vars(tiny)["network"] = network
    sys.modules["torch"].tensor = Ids
    np.testing.assert_array_equal(tiny.outputs()["scores"], [[0, 1, 7], [0, 1, 7]])


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_oracle_is_refused_or_read_and_nothing_else(seed: int, tmp_path: Path) -> None:
    random = np.random.RandomState(seed)
    ORACLE.save(tmp_path / "a.npz")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    for place in random.randint(0, len(content), 3):
        content[place] = random.randint(256)
    if seed % 3 == 0:
        del content[random.randint(len(content)) :]
    (tmp_path / "a.npz").write_bytes(content)
    try:
        Oracle.load(tmp_path / "a.npz")
    except FormatError as error:
        assert str(tmp_path / "a.npz") in str(error)
