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
    process = start("generate", "-m", model, "--context", 64, "go!", stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.read(10) == "tick tick "
    assert process.poll() is None


@pytest.mark.parametrize("prompt", ["go!", "long@"])
def test_an_interrupt_ends_generate_with_130(start: Start, model: Path, tmp_path: Path, prompt: str) -> None:
    mark = tmp_path / "in the step"
    process = start(
        *("generate", "-m", model, prompt, "--overflow", "shift"),
        env={"TOY_MARK": str(mark)},
        stdin=subprocess.DEVNULL,
    )
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


def test_an_interrupt_ends_one_answer_with_130(start: Start, model: Path) -> None:
    process = start("chat", "-m", model, "--overflow", "shift", "go!", stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")


def test_an_interrupt_while_waiting_for_input_exits_with_130(start: Start, model: Path) -> None:
    process = start("chat", "-m", model, "--system", "x")
    time.sleep(1.0)  # nothing is printed while it reads
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 130


@pytest.mark.parametrize("delay", [0.06, 0.12, 0.2, 0.3])
def test_an_interrupt_during_the_start_is_never_a_traceback(start: Start, model: Path, delay: float) -> None:
    process = start("chat", "-m", model, "--overflow", "shift", "go!", stdin=subprocess.DEVNULL)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    if "zigai" in err or process.returncode == 130:
        assert (process.returncode, err) == (130, "")
    else:  # on a busy machine, Python itself may still be starting
        assert process.returncode in (-signal.SIGINT, 1)


def test_ignored_interrupts_stay_ignored(start: Start, model: Path) -> None:
    process = start(
        *("generate", "-m", model, "go!"),
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout is not None
    process.stdout.read(5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 1  # the context cuts the reply


def test_a_closed_pipe_ends_the_program_without_an_error(start: Start, model: Path) -> None:
    for command in (["generate", "go!"], ["chat"], ["inspect", "--tensors"]):
        process = start(*command, "-m", model)
        assert process.stdout is not None
        process.stdout.close()
        _, err = _finish(process, "go!\n" if command == ["chat"] else "")
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
        assert err == "zig-ai: standard output: No space left on device\n"


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


def shell(environment: dict[str, str], script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in which $ZIG is the command."""
    zig = f"ZIG='{sys.executable} -m zigai_cli'\n"
    return subprocess.run(
        ["bash", "-c", zig + script], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_closed_standard_input_or_error_is_no_error(environment: dict[str, str], model: Path) -> None:
    for command in ("generate", "chat"):
        result = shell(environment, f"$ZIG {command} -m '{model}' hi <&-")
        assert (result.returncode, result.stdout, result.stderr) == (0, "Hello, world\n", "")
        assert shell(environment, f"$ZIG {command} -m '{model}' hi 2>&- </dev/null").returncode == 0


@pytest.mark.parametrize("command", ["--help", "version", "chat hi", "generate hi", "chat --help"])
def test_a_closed_standard_output_is_an_error(environment: dict[str, str], command: str) -> None:
    result = shell(environment, f"$ZIG {command} >&- </dev/null")
    assert result.returncode == 1
    assert result.stderr.startswith("zig-ai: standard output is closed")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["--help", "chat --help", "version"])
def test_a_reader_that_has_left_is_no_error(environment: dict[str, str], command: str) -> None:
    result = shell(environment, f"$ZIG {command} | true; echo ${{PIPESTATUS[0]}} >&2")
    assert result.stderr == "0\n"


def test_text_that_is_not_utf8_is_refused(environment: dict[str, str], model: Path) -> None:
    for language in ({"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}):
        for command in ("chat", "generate"):
            piped = shell(environment | language, f"printf 'caf\\xe9' | $ZIG {command} -m '{model}'")
            assert (piped.returncode, piped.stderr.count("\n")) == (1, 1), piped.stderr
            assert "standard input is not utf-8 text (at byte 3)" in piped.stderr
            typed = shell(environment | language, f"$ZIG {command} -m '{model}' $'caf\\xe9' </dev/null")
            assert typed.returncode == 2
            assert "not UTF-8 text" in typed.stderr


def test_unbounded_input_is_refused(environment: dict[str, str], model: Path) -> None:
    result = shell(environment, f"$ZIG chat -m '{model}' </dev/zero")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "larger than 64 MiB" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
@pytest.mark.parametrize("command", ["chat hi", "generate hi", "inspect", "tokenize hi"])
def test_a_limit_on_memory_is_named(environment: dict[str, str], model: Path, command: str) -> None:
    result = shell(environment, f"ulimit -v 250000; $ZIG {command} --model '{model}' </dev/null")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    assert "not enough memory" in result.stderr
    assert "ulimit -v" in result.stderr
