"""The stored conversations: what is written is read again, and no file and no kill leaves a broken store."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("the tests use signals, permissions and limits of POSIX", allow_module_level=True)

import resource

from zigai_cli.failure import InputError
from zigai_cli.history import schema
from zigai_cli.history import store as storing
from zigai_cli.history.store import ChangedError, Store, StoreError
from zigai_cli.history.stored import About, title_of

HELLO = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hi!"}]

WRITER = textwrap.dedent("""\
    import sys
    from pathlib import Path
    from zigai_cli.history.store import Store
    from zigai_cli.history.stored import About
    store = Store(Path(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[2])):
        text = f"{number} " * 500
        turn = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        stored = store.add(About(), turn)
        store.update(stored, About(), 2, turn)
    """)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store(file) as opened:
        yield opened


def writer(file: Path, times: int) -> subprocess.Popen[str]:
    """A process that waits for `go`, and then writes so many conversations."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), str(times)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def test_a_conversation_is_read_as_it_was_written(store: Store) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "text", "text": "here"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}], "reasoning_content": "hm"},
        {"role": "tool", "content": "a\0b\ud800 ☃", "tool_call_id": "1"},
        {"role": "assistant", "tool_calls": [{"id": "2"}]},
    ]
    about = About("model.gguf", "toy", "be kind", {"temperature": 0.5})
    stored = store.add(about, messages)
    store.count(stored.id, 1, {"generated_tokens": 3})
    found = store.get(stored.id)
    assert found is not None
    assert [{"content": None, **message} for message in found.messages] == [
        {"content": None, **message} for message in messages
    ]
    assert (found.about, found.title, found.length) == (about, "look", 4)
    assert found.counts == [None, {"generated_tokens": 3}, None, None]


def test_file_and_folder_are_the_users_alone(store: Store, file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_messages_are_replaced_from_a_place_on(store: Store) -> None:
    stored = store.add(About(), HELLO)
    changed = store.update(stored, About("other"), 1, [{"role": "assistant", "content": "Hello."}])
    assert [message["content"] for message in store.find("last").messages] == ["hello", "Hello."]
    assert changed.about.model == "other"
    with pytest.raises(ChangedError):
        store.update(stored, About(), 0, HELLO)
    store.remove([stored.id])
    with pytest.raises(ChangedError):
        store.update(changed, About(), 0, HELLO)


def test_conversations_are_found_by_title_number_and_last(store: Store) -> None:
    first, second = store.add(About(), HELLO), store.add(About(), HELLO, "greeting")
    assert store.find(str(first.id)).id == first.id
    assert store.find("last").id == store.find("greeting").id == second.id
    store.update(first, About(), 2, HELLO)
    assert store.find("last").id == first.id
    store.rename(second.id, str(first.id))
    assert store.find(str(first.id)).id == second.id, "a title goes before a number"
    for missing in ("9", "nothing", "9" * 40, ""):
        with pytest.raises(InputError, match="no stored conversation"):
            store.find(missing)


def test_numbers_are_not_used_again(store: Store) -> None:
    number = store.add(About(), HELLO).id
    assert store.remove(None) == 1
    assert store.add(About(), HELLO).id > number
    with pytest.raises(InputError, match="no conversation is stored yet"):
        Store.empty().find("last")


def test_deleted_text_leaves_the_file(store: Store, file: Path) -> None:
    stored = store.add(About(), [{"role": "user", "content": "a secret"}])
    assert b"a secret" in file.read_bytes()
    store.remove([stored.id])
    assert b"a secret" not in file.read_bytes()


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("\n  a  b\nc", "a b"),
        ("x" * 200, "x" * 79 + "…"),
        (" \n", "untitled"),
        ([{"type": "image"}], "untitled"),
    ],
)
def test_a_title_is_the_first_line_of_a_message(content: Any, title: str) -> None:
    assert title_of({"role": "user", "content": content}) == title


def test_a_writer_that_is_killed_leaves_whole_conversations(file: Path) -> None:
    chance = random.Random(17)
    for _ in range(8):
        process = writer(file, 10_000)
        go(process)
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Store(file) as store, store.reading() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert {entry.length for entry in store.entries()} <= {2, 4}
            store.add(About(), HELLO * 2)


def test_two_processes_write_at_once(file: Path) -> None:
    processes = [writer(file, 50), writer(file, 50)]
    for process in processes:
        go(process)
    assert [process.wait(60) for process in processes] == [0, 0]
    with Store(file) as store:
        assert [entry.length for entry in store.entries()] == [4] * 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no database, but a text of some length" * 50, "the file is damaged .*move it away"),
        (b"SQLite format 3\0" + bytes(range(256)) * 30, "history.sqlite: "),
    ],
)
def test_a_damaged_file_is_named(file: Path, content: bytes, message: str) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(StoreError, match=message):
        Store(file).entries()
    assert file.read_bytes() == content


def test_a_file_damaged_in_the_middle_is_named(file: Path) -> None:
    with Store(file) as store:
        for _ in range(50):
            store.add(About(), HELLO * 20)
    content = bytearray(file.read_bytes())
    content[4096:-4096] = b"\xff" * (len(content) - 8192)
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"history.sqlite: "), Store(file) as store:
        for entry in store.entries():
            store.get(entry.id)


def test_values_of_a_wrong_type_are_a_damaged_file(store: Store) -> None:
    stored = store.add(About(), HELLO)
    for wrong in ("5", "[", "null"):
        with store.writing() as connection:
            connection.execute("UPDATE messages SET fields = ?", (wrong,))
        with pytest.raises(StoreError, match="damaged"):
            store.get(stored.id)


def test_a_newer_file_and_one_of_another_program_are_left_alone(file: Path, tmp_path: Path) -> None:
    with Store(file) as store, store.writing() as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(StoreError, match=f"a newer zig-ai wrote it .version {schema.VERSION + 1}"):
        Store(file)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (name)")
    connection.close()
    with pytest.raises(StoreError, match="a database of another program"):
        Store(other)


def test_an_older_file_is_migrated_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(file) as store:
        number = store.add(About(), HELLO).id
    more = "ALTER TABLE conversations ADD COLUMN colour TEXT; UPDATE conversations SET colour = 'red'"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, more))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    for _ in range(2):
        with Store(file) as store, store.reading() as connection:
            assert connection.execute("SELECT colour FROM conversations").fetchall() == [("red",)]
            assert store.find(str(number)).messages == HELLO


def test_a_migration_that_fails_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(file).close()
    before = file.read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE x (y); CREATE TABLE x (y)"))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(StoreError, match="already exists"):
        Store(file)
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'x'").fetchone() is None
    connection.close()
    assert len(file.read_bytes()) == len(before)


def test_a_file_that_another_process_locks_is_named(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "PATIENCE", 0.1)
    with (
        Store(file) as other,
        store.writing(),
        pytest.raises(StoreError, match=r"locked it for more than 0\.1 s"),
    ):
        other.add(About(), HELLO)
    with Store(file) as other:
        assert other.add(About(), HELLO).id == 1


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(StoreError, match="not a regular file"):
            Store(path)
    (tmp_path / "in_the_way").write_text("")
    with pytest.raises(StoreError, match="in_the_way"):
        Store(tmp_path / "in_the_way" / "history.sqlite")


@pytest.fixture
def nobody() -> Iterator[None]:
    """Permissions of files do not hold for root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_read_only_store_is_read(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = Path("/tmp") / f"zigai-{os.getpid()}"
    file = folder / "history.sqlite"
    try:
        with Store(file) as store:
            store.add(About(), HELLO)
        file.chmod(0o444)
        folder.chmod(0o555)
        request.getfixturevalue("nobody")
        with Store(file) as store:
            assert store.find("last").messages == HELLO
            with pytest.raises(StoreError, match="readonly"):
                store.add(About(), HELLO)
        with pytest.raises(StoreError, match="Permission denied"):
            Store(folder / "new.sqlite")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o700)
        file.unlink(missing_ok=True)
        folder.rmdir()


def test_a_full_disk_is_named_and_leaves_the_store_whole(file: Path) -> None:
    with Store(file) as store:
        store.add(About(), HELLO)
    child = textwrap.dedent(f"""\
        import resource, signal, sys
        from pathlib import Path
        from zigai_cli.history.store import Store, StoreError
        from zigai_cli.history.stored import About
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = Store(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, ({file.stat().st_size},) * 2)
        try:
            store.add(About(), [{{"role": "user", "content": "x" * 1_000_000}}])
        except StoreError as error:
            print(error)
        """)
    result = subprocess.run(
        [sys.executable, "-c", child, str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "history.sqlite: " in result.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    with Store(file) as store:
        assert [entry.title for entry in store.entries()] == ["hello"]
        store.add(About(), HELLO)
