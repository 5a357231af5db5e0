"""Commands in this process, over plugins made by hand: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zigai_cli import options, shapes, stats
from zigai_cli.app import app
from zigai_cli.chat import Conversation
from zigai_cli.plugins import rows
from zigai_core.api import loading
from zigai_core.api.registry import Plugins
from zigai_core.contracts.options import SamplingOptions
from zigai_core.ops.reference import NumpyBackend

pytestmark = pytest.mark.usefixtures("plugins")


def guessing(model: Path) -> list[list[object]]:
    return [["--speculate", "ngram"], ["--draft", model]]


def zig_ai(*arguments: object, input: str | None = None):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=input)
    assert "Traceback" not in result.output
    return result


def test_generate_prints_the_continuation_and_nothing_else(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "a prompt")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello, world\n", "")
    assert zig_ai("generate", "-m", model, "--prompt", "a prompt").stdout == "Hello, world\n"


def test_generate_reads_standard_input_without_its_last_newline(model: Path) -> None:
    assert zig_ai("generate", "-m", model, input="why*\n").stdout == "☃\n"
    assert zig_ai("generate", "-m", model, input="why*\n\n").stdout == "Hello, world\n"


def test_generate_stops_where_it_is_told_to(model: Path) -> None:
    assert zig_ai("generate", "-m", model, "hi", "--stop", "zzz", "--stop", " w").stdout == "Hello,\n"
    assert zig_ai("generate", "-m", model, "hi", "--max-tokens", 1).stdout == "Hello\n"


def test_generate_gives_machines_one_json_object(model: Path) -> None:
    answer = json.loads(zig_ai("generate", "-m", model, "hi#", "--json").stdout)
    assert answer["text"].startswith("\x1b[31m")
    assert (answer["finish_reason"], answer["backend"], answer["model"]) == ("end", "toy", "toy model")
    assert answer["stats"]["prompt_tokens"] == 4  # bos and three bytes
    assert answer["stats"]["context"] == 64


def test_generate_says_when_the_context_is_full(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "go!", "--overflow", "stop")
    assert result.exit_code == 0
    assert result.stdout.startswith("tick tick ")
    assert "the context of 64 tokens is full" in result.stderr
    assert zig_ai("generate", "-m", model, "x" * 80).stderr.startswith("zig-ai: no room for this")


def test_a_full_context_is_an_error_where_that_is_chosen(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "go!", "--overflow", "error")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "64" in result.stderr


def test_shifting_goes_on_and_says_so(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "go!", "--overflow", "shift", "--max-tokens", 100)
    assert result.stdout.count("tick") == 100
    assert "dropped to make room" in result.stderr


def test_generate_wants_one_prompt(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "one", "--prompt", "two")
    assert result.exit_code == 2
    assert "twice" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["inspect", "x", "--model", "x"],
        ["chat", "-m", "x", "--template-keyword", "thinking"],
        ["chat", "-m", "x", "--template-keyword", "no name=1"],
        ["chat", "-m", "x", "--reasoning", "loud"],
        ["generate", "-m", "x", "y", "--nonsense"],
        ["generate", "-m", "x", "y", "--top-k", "many"],
        ["generate", "-m", "x", "y", "--top-p", "2"],
        ["chat", "-m", "x", "--seed", "-1"],
        ["chat", "-m", "x", "--threads", "0"],
        ["bench", "x", "--model", "x"],
        ["bench", "x", "--synthetic", "llama2-7b:F16"],
        ["bench", "x", "--prompt", "0", "--generate", "0"],
        ["bench", "x", "--sequences", "0"],
        ["tokenize", "-m", "x", "two", "words"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = zig_ai(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_a_user_error_is_one_line_and_exits_with_1(make_model: Callable[..., Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.toy"
    broken.write_text("TOY1\n{")
    cases = {
        tmp_path / "absent.toy": "absent.toy: cannot be read: No such file",
        tmp_path: "a folder, and no installed format (toy) reads a folder like this one",
        broken: "not JSON: at the second line",
        make_model("a", architecture="strange"): "'strange'",
        make_model("b", tokenizer="strange"): "'strange'",
    }
    for path, words in cases.items():
        for command in (["generate", "-m", path, "x"], ["chat", "-m", path]):
            result = zig_ai(*command, input="")
            assert (result.exit_code, result.stdout) == (1, "")
            assert result.stderr.startswith("zig-ai: ")
            assert words in result.stderr
            assert result.stderr.count("\n") == 1


def test_a_backend_that_is_not_there_is_named(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "x", "--backend", "quantum")
    assert result.exit_code == 1
    assert "'quantum'" in result.stderr
    assert "toy" in result.stderr


def test_an_internal_error_says_that_it_is_a_bug(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = zig_ai("generate", "-m", model, "what%")
    assert result.exit_code == 1
    assert "bug: RuntimeError: the toy is broken" in result.stderr
    assert "ZIGAI_DEBUG=1" in result.stderr
    assert result.stderr.count("\n") == 1
    monkeypatch.setenv("ZIGAI_DEBUG", "1")
    result = CliRunner().invoke(app, ["generate", "-m", str(model), "what%"])
    assert "Traceback" in result.stderr


def test_text_from_a_file_reaches_the_terminal_without_escape_sequences(
    make_model: Callable[..., Path],
) -> None:
    path = make_model("evil", name="\x1b]0;owned\x07name", architecture="\x1b[2Jarch")
    for command in (["inspect", path], ["generate", "-m", path, "x"], ["chat", "-m", path]):
        output = zig_ai(*command, input="x\n").output
        assert "arch" in output
        assert not set(output) & set("\x1b\x07")


def test_chat_from_a_pipe_prints_replies_and_nothing_else(model: Path) -> None:
    result = zig_ai("chat", "-m", model, input="hi\n\n  \n/quit\nand*\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello, world\nHello, world\n☃\n", "")


def test_chat_from_a_pipe_shows_statistics_on_standard_error_when_asked(model: Path) -> None:
    result = zig_ai("chat", "-m", model, "--stats", input="hi\nhi\n")
    assert result.stdout == "Hello, world\n" * 2
    lines = result.stderr.splitlines()
    assert lines[0].startswith("toy model (toy, ")
    assert "on toy, the fastest installed backend that serves the whole model" in lines[0]
    assert "lame has no linear of F32" in lines[0]
    assert "template" in lines[1]
    assert "prefill 3 tokens" in lines[2]  # bos and two bytes
    assert "decode 3, " in lines[2]
    assert "cached)" in lines[3]
    assert "\x1b" not in result.stderr


def test_chat_keeps_the_conversation_and_the_system_message(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zigai_core.api.chat import Chat

    seen: list[object] = []
    render = Chat._render
    monkeypatch.setattr(
        Chat, "_render", lambda self, said: seen.append((self.system, list(said))) or render(self, said)
    )
    zig_ai("chat", "-m", model, "--system", "be kind", input="one\ntwo\n")
    system, last = seen[-1]
    assert system == "be kind"
    assert [message["content"] for message in last] == ["one", "Hello, world", "two"]


def test_an_interrupt_that_comes_when_the_reply_has_just_ended_does_not_end_the_chat(
    model: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(generation: object) -> str:
        monkeypatch.undo()
        monkeypatch.setattr("builtins.input", lambda prompt: typed.pop(0))
        raise KeyboardInterrupt

    typed = ["hi", "hi", "/quit"]
    monkeypatch.setattr("builtins.input", lambda prompt: typed.pop(0))
    monkeypatch.setattr(stats, "line", interrupted)
    talk = loading.load(model, plugins=plugins).chat()
    conversation = Conversation(
        talk, SamplingOptions(), None, interactive=True, show_stats=True, reasoning=options.Reasoning.DIM
    )
    conversation.at_terminal()
    out = capsys.readouterr().out
    assert out.count("Hello, world") == 2
    assert "Ctrl-D or /quit leaves" in out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["chat"], "Hello, world\n"),
        (["generate", "hi"], "Hello, world\n"),
        (["tokenize", "hi", "--ids-only"], "1 107 108\n"),
        (["inspect"], "bundled.toy"),
    ],
)
def test_without_a_model_the_bundled_one_is_taken_and_named(command: list[str], said: str) -> None:
    result = zig_ai(*command, input="hi\n")
    assert result.exit_code == 0
    assert said in result.stdout
    assert result.stderr == (
        "no model is named, so this is a toy that says hello. To name one: --model PATH.gguf\n"
    )


def test_without_a_model_and_a_bundled_one_the_error_says_what_to_do(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = Plugins(formats=plugins.formats)
    monkeypatch.setattr(Plugins, "installed", classmethod(lambda cls, path=None: bare))
    result = zig_ai("chat", input="hi\n")
    assert result.exit_code == 1
    assert "no model is named, and no installed package brings one: name a file" in result.stderr


def test_reasoning_is_hidden_in_a_pipe_unless_it_is_asked_for(model: Path) -> None:
    assert zig_ai("chat", "-m", model, input="why?\n").stdout == "Hello, world\n"
    shown = zig_ai("chat", "-m", model, "--reasoning", "show", input="why?\n").stdout
    assert shown == "<think>hm</think>Hello, world\n"
    apart = zig_ai("chat", "-m", model, "--reasoning", "dim", input="why?\n").stdout
    assert apart == "hm\n\nHello, world\n"


def test_a_reply_that_is_all_reasoning_is_told(model: Path) -> None:
    result = zig_ai("chat", "-m", model, "--max-tokens", 2, input="why?\n")
    assert (result.stdout, result.stderr) == ("", "(nothing but reasoning, which is hidden)\n")


def test_template_keywords_reach_the_template(make_model: Callable[..., Path]) -> None:
    path = make_model(template="{{ messages[-1].content }}{{ mood }}{% if not loud %}*{% endif %}")
    options = ["--template-keyword", "loud=false", "--template-keyword", "mood=calm"]
    assert zig_ai("chat", "-m", path, *options, input="hi\n").stdout == "☃\n"
    wrong = zig_ai("chat", "-m", path, "--template-keyword", "moody=calm", input="hi\n")
    assert wrong.exit_code == 1
    assert "takes no 'moody'; what it reads is: loud, mood" in wrong.stderr


def test_chat_without_a_template_names_those_there_are(make_model: Callable[..., Path]) -> None:
    result = zig_ai("chat", "-m", make_model(template=None), input="hi\n")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "(toy)" in result.stderr


def test_chat_takes_a_template_by_name_or_from_a_file(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_model(template=None)
    assert zig_ai("chat", "-m", path, "--template", "toy", input="hi*\n").stdout == "☃\n"
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages[-1].content }}*")
    result = zig_ai("chat", "-m", path, "--template", file, "--stats", input="hi\n")
    assert result.stdout == "☃\n"
    assert "own.jinja" in result.stderr


@pytest.mark.parametrize("content", [b"{% for %}", b"\xff\xfe", None])
def test_a_template_that_cannot_be_used_is_one_line(
    model: Path, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "own.jinja"
    if content is not None:
        file.write_bytes(content)
    result = zig_ai("chat", "-m", model, "--template", file, input="hi\n")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "own.jinja" in result.stderr


def test_a_template_that_is_no_regular_file_or_too_large_is_one_line(model: Path, tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large.jinja"
    os.mkfifo(pipe)
    large.write_bytes(b"a" * 400_001)
    for file, what in (
        ("/dev/zero", "not a regular file"),
        (pipe, "not a regular file"),
        (tmp_path, "not a regular file"),
        (large, "larger than 400000 bytes"),
    ):
        result = zig_ai("chat", "-m", model, "--template", file, input="hi\n")
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert f"--template {file}: {what}" in result.stderr


def test_input_that_is_no_text_is_a_user_error(model: Path) -> None:
    for command in ("generate", "chat", "tokenize"):
        result = CliRunner().invoke(app, [command, "-m", str(model)], input=b"caf\xe9\n")
        assert result.exit_code == 1
        assert "not utf-8 text" in result.stderr


def test_tokenize_shows_ids_and_pieces(model: Path) -> None:
    assert zig_ai("tokenize", "-m", model, "hi").stdout.split() == [
        "1",
        "'<s>'",
        "107",
        "'<0x68>'",
        "108",
        "'<0x69>'",
    ]
    assert zig_ai("tokenize", "-m", model, "hi", "--ids-only").stdout == "1 107 108\n"
    assert zig_ai("tokenize", "-m", model, "--ids-only", "--no-bos", input="hi\n").stdout == "107 108\n"
    assert zig_ai("tokenize", "-m", model, "</s>", "--special", "--no-bos", "--ids-only").stdout == "2\n"
    answer = json.loads(zig_ai("tokenize", "-m", model, "hi", "--json").stdout)
    assert answer["tokens"][1] == {"id": 107, "piece": "<0x68>"}


def test_tokenize_writes_many_tokens_in_the_same_forms(model: Path) -> None:
    few = zig_ai("tokenize", "-m", model, input="x y" * 333).stdout.splitlines()
    text = "x y" * 2000
    many = zig_ai("tokenize", "-m", model, input=text).stdout.splitlines()
    assert many[:1000] == few[:1000]
    assert len(many) == 6001
    ids = zig_ai("tokenize", "-m", model, "--ids-only", input=text).stdout
    assert ids.split() == [line.split()[0] for line in many]
    answer = json.loads(zig_ai("tokenize", "-m", model, "--json", input=text).stdout)
    assert answer["text"] == text
    assert [str(token["id"]) for token in answer["tokens"]] == ids.split()
    assert json.loads(zig_ai("tokenize", "-m", model, "--no-bos", "--json", "").stdout) == {
        "text": "",
        "tokens": [],
    }


def test_tokenize_decodes_what_it_encodes(model: Path) -> None:
    assert zig_ai("tokenize", "-m", model, "--decode", 107, 108).stdout == "hi\n"
    assert zig_ai("tokenize", "-m", model, "--decode", input="[107, 108]\n").stdout == "hi\n"
    assert zig_ai("tokenize", "-m", model, "--decode", "--special", 1, 107).stdout == "<s>h\n"
    for wrong in ("x", "-1", "99999"):
        result = zig_ai("tokenize", "-m", model, "--decode", "--", wrong)
        assert result.exit_code == 1
        assert wrong in result.stderr


def test_tokenize_needs_no_architecture(make_model: Callable[..., Path]) -> None:
    assert zig_ai("tokenize", "-m", make_model(architecture="strange"), "hi", "--ids-only").exit_code == 0


def test_inspect_shows_the_model_and_who_serves_it(model: Path) -> None:
    text = zig_ai("inspect", model).stdout
    for words in (
        "toy model",
        "context length",
        "64",
        "300 tokens",
        "in the file",
        "F32",
        "attention.head_count",
    ):
        assert words in text
    assert "LACKS linear of F32" in text
    assert "serves the whole model (auto takes it)" in text
    assert "token_embd.weight" not in text
    assert "token_embd.weight" in zig_ai("inspect", "--model", model, "--tensors").stdout


def test_inspect_shows_kernels(model: Path) -> None:
    text = zig_ai("inspect", model, "--kernels", "--backend", "toy").stdout
    assert "a table of tokens" in text
    assert "lookup" in text
    assert zig_ai("inspect", model, "--kernels", "--backend", "lame").exit_code == 1


def test_inspect_works_without_architecture_and_tokenizer(make_model: Callable[..., Path]) -> None:
    path = make_model(architecture="strange", tokenizer="odd", template=None)
    result = zig_ai("inspect", path)
    assert result.exit_code == 0
    assert "MISSING" in result.stdout
    assert "'strange'" in result.stdout
    assert "'odd'" in result.stdout
    answer = json.loads(zig_ai("inspect", path, "--json").stdout)
    assert answer["served_by"]["chosen"] is None
    assert "strange" in answer["served_by"]["architecture"]["error"]


def test_inspect_gives_machines_json(model: Path) -> None:
    answer = json.loads(zig_ai("inspect", model, "--json", "--tensors", "--kernels").stdout)
    assert answer["parameters"] == sum(row["elements"] for row in answer["types"])
    assert answer["bytes"] == sum(row["bytes"] for row in answer["tensors"])
    assert answer["served_by"]["chosen"] == "toy"
    assert answer["kernels"]["tensors"][0]["kernel"] == "lookup"
    assert "kernels" not in json.loads(zig_ai("inspect", model, "--json").stdout)


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_guessing_ahead_leaves_the_reply_as_it_is(command: str, model: Path) -> None:
    said = ["go!", "--json"] if command == "generate" else []
    work = ["-m", model, "--max-tokens", 30, *said]
    plain = zig_ai(command, *work, input="go!\n").stdout
    guessed = [zig_ai(command, *work, *option, input="go!\n").stdout for option in guessing(model)]
    if command == "chat":
        assert guessed == [plain, plain]
        return
    for answer in map(json.loads, guessed):
        assert answer["text"] == json.loads(plain)["text"]
        assert answer["stats"]["accepted_tokens"] > 4


def test_two_ways_to_guess_are_one_too_many(model: Path) -> None:
    result = zig_ai("generate", "-m", model, "hi", "--speculate", "ngram", "--draft", model)
    assert result.exit_code == 2


def test_bench_gives_machines_the_figures_that_were_asked_for(model: Path) -> None:
    work = ["--prompt", 20, "--generate", 6, "--depth", 9, "--sequences", 3, "--repeat", 2, "--threads", 1]
    figures = json.loads(zig_ai("bench", model, *work, "--json").stdout)
    expected = {"prompt": 20, "generate": 6, "depth": 9, "sequences": 3, "repeat": 2, "threads": 1}
    assert figures.items() >= expected.items()
    assert figures["prompt_tps"] > 0 < figures["generate_tps"]
    assert figures["load_s"] > 0 < figures["first_token_s"]
    assert sys.platform == "win32" or figures["peak_resident_bytes"] > 1 << 20
    assert sys.platform != "linux" or figures["start_to_token_s"] > figures["first_token_s"]
    assert (figures["engine"], figures["model"], figures["backend"]) == ("zigai", "model.toy", "toy")
    alone = json.loads(zig_ai("bench", "-m", model, "--prompt", 0, "--generate", 4, "--json").stdout)
    assert "prompt_tps" not in alone


def test_bench_shows_people_a_table(model: Path) -> None:
    result = zig_ai("bench", model, "--prompt", 20, "--generate", 6, "--sequences", 2, "--depth", 4)
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:]] == [
        "prompt of 20",
        "generate 6 × 2 at a depth of 4",
    ]
    assert "loaded in" in result.stderr


def test_a_backend_that_cannot_profile_says_so(model: Path) -> None:
    result = zig_ai("bench", model, "--prompt", 8, "--generate", 4, "--profile")
    assert result.exit_code == 1
    assert "the backend toy cannot tell where its time goes" in result.stderr


def test_a_profile_adds_up_the_layers(monkeypatch: pytest.MonkeyPatch, plugins: Plugins, model: Path) -> None:
    monkeypatch.setitem(plugins.backends._by_hand, "numpy", NumpyBackend)
    work = ["--prompt", 8, "--generate", 4, "--backend", "numpy", "--profile"]
    result = zig_ai("bench", model, *work, "--json")
    assert result.exit_code == 0, result.stderr
    profile = json.loads(result.stdout)["profile"]
    assert list(profile) == ["prompt", "generate"]
    for told in profile.values():
        assert {"Linear", "Attention", "RMSNorm"} <= {row["operation"] for row in told}
        assert sum(row["seconds"] for row in told) > 0
        assert not any(row["output"].startswith("blk.") for row in told)
    assert "share" in zig_ai("bench", model, *work).stdout


def test_bench_makes_up_a_model(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"architecture": "toy", "layers": 1, "vocabulary": 300}
    monkeypatch.setattr(shapes, "SHAPES", {"small": small})
    work = ["--prompt", 8, "--generate", 4, "--json"]
    figures = json.loads(zig_ai("bench", "--synthetic", "small:Q8_0", *work).stdout)
    assert figures["model"] == "small:Q8_0"
    wrong = zig_ai("bench", "--synthetic", "large:Q8_0")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    assert "no random model large:Q8_0; shapes: small; types: F32" in wrong.stderr


def test_plugins_lists_every_registry(plugins: Plugins) -> None:
    text = zig_ai("plugins").stdout
    for registry in plugins.registries():
        assert registry.group in text
        for entry in registry.entries():
            assert entry.name in text
    assert json.loads(zig_ai("plugins", "--json").stdout)["zigai.formats"][0]["name"] == "toy"


def test_plugins_marks_conflicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the fixture's own registries
    for name in ("one", "two"):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[zigai.backends]\nfast = {name}:Fast\nonly-{name} = {name}:Only\n"
            f"[zigai.commands]\nchat = {name}:chat\n"
        )
    found = Plugins.installed([str(tmp_path)])
    conflicts = {(row["name"], row["distribution"]): row["conflict"] for row in rows(found.backends)}
    assert conflicts[("fast", "one")].startswith("CONFLICT: 2 packages")
    assert conflicts[("only-one", "one")] == ""
    assert all("CONFLICT" in row["conflict"] for row in rows(found.commands))


def test_a_plugin_may_bring_a_command() -> None:
    assert zig_ai("greet").stdout == "toy greets you\n"
    assert zig_ai("greet", "--name", "them").stdout == "toy greets them\n"
    assert zig_ai("greet", "--nonsense").exit_code == 2


def test_version_names_zig_ai_and_python() -> None:
    text = zig_ai("version").stdout
    assert text.startswith("zig-ai ")
    assert "zigai-core" in text
    assert "Python" in text
    assert zig_ai("--version").stdout == text


def test_how_keys_and_values_are_kept_is_the_backends_to_serve_or_refuse(model: Path) -> None:
    assert zig_ai("generate", "-m", model, "--kv-dtype", "Q8_0", "a prompt").stdout == "Hello, world\n"
    for command in (
        ["generate", "-m", model, "a prompt"],
        ["chat", "-m", model],
        ["bench", model, "--prompt", 8, "--generate", 8],
    ):
        refused = zig_ai(*command, "--kv-dtype", "Q3")
        assert refused.exit_code != 0
        assert "no keys and values as Q3" in refused.stderr


def test_a_folder_for_packed_weights_reaches_the_backend(model: Path, tmp_path: Path) -> None:
    for command in (
        ["generate", "-m", model, "a prompt"],
        ["chat", "-m", model],
        ["bench", model, "--prompt", 8, "--generate", 8],
    ):
        folder = tmp_path / command[0]
        assert zig_ai(*command, "--packed-cache", folder, input="").exit_code == 0
        assert (folder / "toy").exists()
    named = f"packed_cache={tmp_path / 'named'}"
    assert zig_ai("generate", "-m", model, "--backend-option", named, "a prompt").exit_code == 0
    assert (tmp_path / "named" / "toy").exists()
    refused = zig_ai("generate", "-m", model, "--backend", "toy", "--backend-option", "colour=red", "x")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "zig-ai: the backend toy has no setting 'colour'; its settings: packed_cache\n",
    )


def test_help_states_the_defaults_of_core() -> None:
    text = " ".join(zig_ai("generate", "--help").stdout.split())
    for name in ("temperature", "top_k", "top_p", "min_p", "repeat_penalty"):
        following = text.split("--" + name.replace("_", "-"))[1]
        assert following.split("[default: ")[1].startswith(f"({getattr(SamplingOptions(), name)})"), name


def test_only_given_sampling_options_replace_core_defaults() -> None:
    given = options.sampling(
        temperature=0.5, top_k=None, top_p=None, min_p=None, repeat_penalty=None, seed=None
    )
    assert given == SamplingOptions(temperature=0.5)


def test_every_sampling_option_can_be_given_by_name() -> None:
    none: dict[str, Any] = dict.fromkeys(("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed"))
    further = [
        *("typical_p=0.9", "mirostat=2", 'dry_sequence_breakers=["a", ":"]', 'logit_bias={"7": -1.5}'),
        'steps=["logit_bias", "temperature"]',
    ]
    assert options.sampling(**none, further=further) == SamplingOptions(
        typical_p=0.9,
        mirostat=2,
        dry_sequence_breakers=("a", ":"),
        logit_bias={7: -1.5},
        steps=("logit_bias", "temperature"),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("typical_p=2", "typical_p must be a number within 0..1, not 2"),
        ("typicalp=0.5", "where NAME is temperature, top_k"),
        ("typical_p", "give NAME=JSON"),
        ("typical_p=much", "the value must be JSON"),
        ("logit_bias=[1]", "the value must be JSON"),
        ("seed=4", "seed is given twice"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "chat"])
def test_a_sampling_option_that_cannot_be_is_a_usage_error(
    model: Path, command: str, given: str, words: str
) -> None:
    run = zig_ai(command, "-m", model, "--seed", 3, "--sampling", given, input="a")
    assert run.exit_code == 2
    assert words in " ".join(run.stderr.replace("│", " ").split())
