"""The user's settings: which value holds, what is refused, and that the file keeps its comments."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from command_runner import zig_ai

from zigai_cli.app import app
from zigai_cli.settings.settable import common_options, options_of

pytestmark = pytest.mark.usefixtures("plugins")


@pytest.fixture
def write(home: Path) -> Callable[[str], Path]:
    """Write the settings file."""

    def write_text(text: str) -> Path:
        file = home / "config" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write_text


def settings() -> dict[str, Any]:
    return {
        row["key"]: (row["value"], row["source"]) for row in json.loads(zig_ai("config", "--json").stdout)
    }


def test_a_setting_of_a_command_goes_before_one_for_all(model: Path, write: Callable[[str], Path]) -> None:
    write("max_tokens = 1\n[chat]\nmax_tokens = 2")
    assert zig_ai("generate", "-m", model, "hi").stdout == "Hello\n"
    assert zig_ai("chat", "-m", model, input="hi\n").stdout == "Hello,\n"
    assert zig_ai("chat", "-m", model, "--max-tokens", 3, input="hi\n").stdout == "Hello, world\n"


def test_an_environment_variable_goes_before_a_setting(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("threads = 3\npacked_cache = '/there'\n")
    assert settings()["threads"] == (3, "config.toml:1")
    assert "3, from config.toml" in " ".join(zig_ai("chat", "--help").stdout.split())
    monkeypatch.setenv("ZIGAI_NUM_THREADS", "2")
    monkeypatch.setenv("ZIGAI_PACKED_CACHE", "/here")
    assert settings()["threads"] == ("2", "environment variable ZIGAI_NUM_THREADS")
    assert settings()["packed_cache"] == ("/here", "environment variable ZIGAI_PACKED_CACHE")
    assert "from config.toml" not in zig_ai("chat", "--help").stdout


def test_the_model_of_the_settings_replaces_the_bundled_one(
    make_model: Callable[..., Path], write: Callable[[str], Path]
) -> None:
    mine = make_model("mine.toy", name="mine")
    write(f"model = '{mine}'")
    for arguments in (["inspect"], ["inspect", make_model("other.toy", name="other")]):
        shown = zig_ai(*arguments)
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert ("mine" if len(arguments) == 1 else "other") in shown.stdout
    zig_ai("chat", input="hi\n")
    assert json.loads(zig_ai("history", "show", "--json").stdout)["model"] == str(mine)
    assert zig_ai("generate", "-m", mine.with_name("absent"), "hi").exit_code == 1


def test_a_setting_does_not_make_a_command_fail(model: Path, write: Callable[[str], Path]) -> None:
    write("threads = 2\nbackend = 'toy'\n")
    assert zig_ai("inspect", model).exit_code == 0
    assert zig_ai("inspect", model, "--threads", 2).exit_code == 2


def test_history_may_be_turned_off(model: Path, write: Callable[[str], Path]) -> None:
    write("history = false")
    zig_ai("chat", "-m", model, input="one\n")
    zig_ai("chat", "-m", model, "--history", input="two\n")
    assert [entry["title"] for entry in json.loads(zig_ai("history", "list", "--json").stdout)] == ["two"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = ", 1, "Invalid value"),
        ("# a\nthreads = 1\nthreads = 2", 3, "Cannot overwrite a value"),
        ('threads = "two"', 1, "threads: must be a whole number"),
        ("threads = true", 1, "threads: must be a whole number"),
        ("threads = 0", 1, "threads must be a whole number of at least 1, not 0"),
        ("threds = 3", 1, "there is no option 'threds': did you mean 'threads'?"),
        ("# a\n[chat]\n\ntemprature = 1", 4, "no option 'chat.temprature': did you mean 'temperature'?"),
        ("[cht]\ntemperature = 1", 2, "no command 'cht' takes settings: did you mean 'chat'?"),
        ("chat.temperature = -1", 1, "chat.temperature: temperature must be"),
        ("max_tokens = 0", 1, "max_tokens: must be at least 1"),
        ("overflow = 'shft'", 1, "overflow: must be one of error, stop, shift, not 'shft'"),
        ("history = 'off'", 1, "history: must be true or false"),
        ("model = ''", 1, "model: must be a text that is not empty"),
        ("sampling = 'x=1'", 1, "sampling: must be a list of texts, or a table"),
        ("sampling = {typcal_p = 1}", 1, "typcal_p"),
        ("draft = 'x'\nspeculate = 'ngram'", 1, "draft and speculate both propose"),
        ("[chat]\nspeculate = 'ngram'\ndraft = 'x'", 3, "draft and speculate both propose"),
        ("[bench]\nmodel = 'x'", 2, "there is no option 'bench.model'"),
        ("json = true", 1, "there is no option 'json'"),
    ],
)
def test_a_broken_file_is_one_line_with_file_and_line(
    model: Path, write: Callable[[str], Path], text: str, line: int, message: str
) -> None:
    file = write(text)
    for arguments in (["tokenize", "-m", model, "hi"], ["config"]):
        result = zig_ai(*arguments)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
        assert f"{file}:{line}: " in result.stderr
        assert message in result.stderr
    for arguments in (["chat", "--help"], ["config", "path"], ["version"]):
        assert zig_ai(*arguments).exit_code == 0


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = " + b"[" * 5000, b"\0", None])
def test_an_unreadable_file_is_one_line(home: Path, content: bytes | None) -> None:
    file = home / "config" / "config.toml"
    if content is None:
        file.mkdir(parents=True)
    else:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    for arguments in (["config"], ["config", "set", "threads", 1], ["config", "unset", "threads"]):
        result = zig_ai(*arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert str(file) in result.stderr


def test_several_values_are_a_list_or_a_table(model: Path, write: Callable[[str], Path]) -> None:
    write("sampling = {typical_p = 0.9, dry_sequence_breakers = ['a']}\n[generate]\nstop = [',']")
    assert zig_ai("generate", "-m", model, "hi").stdout == "Hello\n"
    shown = " ".join(zig_ai("generate", "--help").stdout.split())
    assert 'typical_p=0.9, dry_sequence_breakers=["a"], from config.toml' in shown


def test_an_option_goes_before_settings_of_the_same_thing(model: Path, write: Callable[[str], Path]) -> None:
    write("temperature = 9.5\nspeculate = 'ngram'\n")
    asked = ("chat", "-m", model, "hi", "--json")
    assert zig_ai(*asked, "--sampling", "temperature=0").exit_code == 0
    assert zig_ai("generate", "-m", model, "hi", "--draft", model).exit_code == 0
    write("draft = 'absent.toy'\nsampling = {temperature = 9.5, min_p = 0.5}\n")
    assert zig_ai(*asked, "--temperature", 0, "--speculate", "ngram").exit_code == 0
    twice = zig_ai("generate", "-m", model, "hi", "--temperature", 0, "--sampling", "temperature=0")
    assert (twice.exit_code, "temperature is given twice" in twice.stderr) == (2, True)


def test_an_option_named_like_a_text_may_be_set_where_it_is_a_number(write: Callable[[str], Path]) -> None:
    assert zig_ai("config", "set", "bench.prompt", "64").exit_code == 0
    assert zig_ai("config", "get", "bench.prompt").stdout == "64\n"
    assert "there is no option" in zig_ai("config", "set", "generate.prompt", "x").stderr


def test_a_setting_of_a_plugins_command_is_used(write: Callable[[str], Path]) -> None:
    write("[greet]\nname = 'Anna'")
    assert zig_ai("greet").stdout == "toy greets Anna\n"
    assert zig_ai("config", "set", "greet.name", "Eve").exit_code == 0
    assert zig_ai("greet").stdout == "toy greets Eve\n"
    assert zig_ai("config", "set", "greet.nam", "Eve").exit_code == 1
    file = write("[greet]\nnam = 'Anna'")
    assert zig_ai("version").exit_code == 0, "the options of plugins are read to run their command only"
    result = zig_ai("greet")
    assert (result.exit_code, f"{file}:2: there is no option 'greet.nam'" in result.stderr) == (1, True)


def test_set_get_and_unset_keep_comments(write: Callable[[str], Path]) -> None:
    file = write("# mine\nthreads = 1  # few\n\n[chat]\ntemperature = 1.0\n")
    file.chmod(0o640)
    for key, *values in (
        ("threads", "2"),
        ("history", "off"),
        ("chat.temperature", "0.5"),
        ("generate.stop", "a", "b"),
    ):
        assert zig_ai("config", "set", key, *values).exit_code == 0
    text = file.read_text()
    assert text.startswith("# mine\nthreads = 2  # few\nhistory = false\n")
    assert "temperature = 0.5" in text
    assert 'stop = ["a", "b"]' in text
    assert file.stat().st_mode & 0o777 == 0o640
    assert zig_ai("config", "get", "chat.temperature").stdout == "0.5\n"
    assert zig_ai("config", "unset", "chat.temperature").exit_code == 0
    assert "[chat]" not in file.read_text()
    assert [each.name for each in file.parent.iterdir()] == ["config.toml"]
    missing = zig_ai("config", "get", "chat.temperature")
    assert (missing.exit_code, "its default is the model's own, else 0.8" in missing.stderr) == (1, True)
    assert zig_ai("config", "unset", "chat.temperature").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["threds", "3"], 1, "there is no option 'threds': did you mean 'threads'?"),
        (["cht.threads", "3"], 1, "there is no command 'cht'"),
        (["threads", "x"], 1, "threads: must be a whole number"),
        (["chat.min_p", "-1"], 1, "min_p must be a number within 0..1, not -1"),
        (["threads", "1", "2"], 2, "takes one value"),
    ],
)
def test_a_wrong_setting_is_not_written(home: Path, arguments: list[str], code: int, message: str) -> None:
    result = zig_ai("config", "set", *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True)
    assert not home.exists()


def test_a_path_is_set_for_every_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    zig_ai("config", "set", "model", model.name)
    zig_ai("config", "set", "packed_cache", "cache")
    zig_ai("config", "set", "draft", "hf:owner/name")
    assert [settings()[key][0] for key in ("model", "packed_cache", "draft")] == [
        str(model),
        str(model.parent / "cache"),
        "hf:owner/name",
    ]


@pytest.mark.parametrize(
    "text",
    ["[chat]\nmax_tokens = 1", "chat.max_tokens = 1", "chat = {max_tokens = 1}", "'chat'.max_tokens = 1"],
)
def test_a_table_may_be_written_in_every_way(model: Path, write: Callable[[str], Path], text: str) -> None:
    file = write(text)
    assert zig_ai("chat", "-m", model, input="hi\n").stdout == "Hello\n"
    assert zig_ai("config", "set", "chat.max_tokens", 2).exit_code == 0
    assert zig_ai("chat", "-m", model, input="hi\n").stdout == "Hello,\n"
    assert zig_ai("config", "unset", "chat.max_tokens").exit_code == 0
    assert "max_tokens" not in file.read_text()


def test_a_table_of_sampling_options_may_have_a_header(model: Path, write: Callable[[str], Path]) -> None:
    file = write("[sampling]\ntypcal_p = 1")
    assert f"{file}:1: sampling: " in zig_ai("chat", "-m", model, input="hi\n").stderr


def test_a_file_that_cannot_be_written_is_one_line(home: Path) -> None:
    home.mkdir()
    (home / "config").write_text("")
    result = zig_ai("config", "set", "threads", 2)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert f"{home / 'config' / 'config.toml'}: " in result.stderr


def test_a_link_to_the_file_stays_a_link(home: Path, tmp_path: Path) -> None:
    (home / "config").mkdir(parents=True)
    link, target = home / "config" / "config.toml", tmp_path / "dotfile"
    link.symlink_to(target)
    assert zig_ai("config", "set", "threads", 2).exit_code == 0
    assert link.is_symlink()
    assert target.read_text() == "threads = 2\n"


def test_edit_opens_an_editor_and_checks_the_file(
    zig_ai: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    home = {"ZIGAI_HOME": str(tmp_path / "edited"), "VISUAL": ""}
    append = f"{sys.executable} -c \"import sys; open(sys.argv[1], 'a').write('threds = 1')\""
    result = zig_ai("config", "edit", env=home | {"EDITOR": append})
    assert (result.returncode, "did you mean 'threads'?" in result.stderr) == (1, True)
    for editor, message in (
        ("nonesuch", "cannot run the editor"),
        ("false", "failed"),
        ("'", "not a command"),
    ):
        result = zig_ai("config", "edit", env=home | {"EDITOR": editor})
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert message in result.stderr


def test_every_option_of_every_command_may_be_set_or_is_left_out_by_name() -> None:
    group: Any = typer.main.get_command(app)
    flat = {name: each for name, each in group.commands.items() if not hasattr(each, "commands")}
    common = common_options(flat)
    assert {"model", "threads", "packed_cache", "context", "kv_dtype", "history", "temperature"} <= set(
        common
    )
    kinds = {key: option.kind for key, option in common.items()}
    assert (kinds["threads"], kinds["temperature"], kinds["history"]) == (int, float, bool)
    for name, command in flat.items():
        assert not {"json", "help", "continue", "id"} & set(options_of(command)), name
