"""`zig-ai` as a process: pipes, signals, a full disk, a closed pipe; never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and pipes")


def test_a_reply_is_streamed_as_it_is_generated(start: Start, model: Path) -> None:
    process = start("generate", "-m", model, "--context", 64, "go!")
    assert process.stdout is not None
    assert process.stdout.read(10) == "tick tick "
    assert process.poll() is None


def test_a_piped_chat_answers_each_line_before_the_next_is_written(start: Start, model: Path) -> None:
    process = start("chat", "-m", model)
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(2):
        process.stdin.write("hi\n")
        process.stdin.flush()
        assert process.stdout.readline() == "Hello, world\n"
    out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("", "", 0)


@pytest.mark.parametrize("prompt", ["go!", "long@"])
def test_an_interrupt_ends_generate_with_130(start: Start, model: Path, tmp_path: Path, prompt: str) -> None:
    mark = tmp_path / "in the step"
    process = start("generate", "-m", model, prompt, "--overflow", "shift", env={"TOY_MARK": str(mark)})
    assert process.stdout is not None
    if prompt == "go!":
        process.stdout.read(5)
    while prompt == "long@" and not mark.exists():
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == ""
    assert time.monotonic() - began < 20


def test_an_interrupt_ends_bench_with_130(start: Start, model: Path) -> None:
    process = start("bench", model, "--prompt", 8, "--generate", 8, "--repeat", 10_000_000)
    time.sleep(2.0)  # bench prints nothing before its end
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err


def test_an_interrupt_ends_a_piped_chat_with_130(start: Start, model: Path) -> None:
    process = start("chat", "-m", model, "--overflow", "shift")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go!\nhi\n")
    process.stdin.flush()
    process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Hello" not in out
    assert err == ""


def test_an_interrupt_while_waiting_for_input_exits_with_130(start: Start, model: Path) -> None:
    process = start("chat", "-m", model)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("hi\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130


def test_ignored_interrupts_stay_ignored(start: Start, model: Path) -> None:
    process = start(
        "generate", "-m", model, "go!", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    assert process.stdout is not None
    process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_closed_pipe_ends_the_program_without_an_error(start: Start, model: Path) -> None:
    for command in (["generate", "go!"], ["chat"], ["inspect", "--tensors"]):
        process = start(*command, "-m", model)
        assert process.stdout is not None
        process.stdout.close()
        _, err = _finish(process, "go!\n" * 3 if command == ["chat"] else "")
        assert (err, process.returncode) == ("", 0), command


def _finish(process: subprocess.Popen[str], text: str) -> tuple[None, str]:
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(text)
    process.stdin.close()
    err = process.stderr.read()
    process.wait(30)
    process.stderr.close()
    return None, err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_one_line_error(start: Start, model: Path) -> None:
    for command in (["generate", "hi", "-m", model], ["version"], ["tokenize", "hi", "-m", model]):
        with Path("/dev/full").open("w") as full:
            process = start(*command, stdout=full)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 1
        assert err == "zig-ai: No space left on device\n"


def test_an_internal_error_shows_a_traceback_only_with_zigai_debug(zig_ai: Run, model: Path) -> None:
    result = zig_ai("generate", "-m", model, "what%")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "bug" in result.stderr
    result = zig_ai("generate", "-m", model, "what%", env={"ZIGAI_DEBUG": "1"})
    assert "Traceback" in result.stderr


def test_characters_that_standard_output_cannot_encode_are_replaced(zig_ai: Run, model: Path) -> None:
    result = zig_ai("generate", "-m", model, "snow*", env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stdout, result.stderr) == (0, "?\n", "")


def test_commands_of_plugins_are_listed_without_importing_them_and_name_their_package(zig_ai: Run) -> None:
    result = zig_ai("--help")
    assert result.returncode == 0
    assert "from zigai-toy 1.2" in result.stdout
    assert zig_ai("greet").stdout == "toy greets you\n"
    result = zig_ai("absent")
    assert result.returncode == 1
    assert "zigai-toy 1.2" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "CONFLICT" in zig_ai("plugins").stdout


def test_help_imports_neither_numpy_nor_rich(environment: dict[str, str]) -> None:
    script = (
        "import sys; sys.argv = ['zig-ai', '--help']\n"
        "from zigai_cli.main import run\n"
        "try: run()\n"
        "except SystemExit: pass\n"
        "heavy = ('numpy', 'rich', 'jinja2', 'toy_plugin', 'sqlite3', 'tomlkit', 'prompt_toolkit')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert result.stdout.endswith("[]\n")


def test_closed_standard_streams_are_no_error(environment: dict[str, str], model: Path) -> None:
    script = f"exec '{sys.executable}' -m zigai_cli generate -m '{model}' hi >&- <&-"
    result = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
