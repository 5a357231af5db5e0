"""A local server that speaks the hub's API and serves a package index; no test needs the internet."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "c" * 40


class Server:
    """Files by path, repositories by name, and what was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut: int | None = None
        """Bytes after which an answer with a file breaks off; None sends all."""
        self.chunk_pause = 0.0
        self.gated: set[str] = set()
        self.wrong: set[str] = set()
        """Files whose content is sent with another first byte."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                server.answer(self, body=False)

            def do_GET(self) -> None:
                server.answer(self, body=True)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def ranges(self) -> list[str | None]:
        """The Range of each request for a file's bytes."""
        return [ranged for path, ranged in self.asked if path.startswith("/cdn/") or path in self.files]

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = request.path.split("?")[0]
        if body:
            self.asked.append((path, request.headers.get("Range")))
        if path in self.files:
            return self._bytes(request, self.files[path], body)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._model(request, "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        if parts[0] == "cdn" and "/".join(parts[3:]) in self.gated:
            return self._send(request, 403, {"X-Error-Code": "GatedRepo"}, b"{}")
        if parts[0] == "cdn":
            content = self.repositories["/".join(parts[1:3])]["/".join(parts[3:])]
            if "/".join(parts[3:]) in self.wrong:
                content = b"X" + content[1:]
            return self._bytes(request, content, body)
        if len(parts) > 4 and parts[2] == "resolve":
            repo, file = "/".join(parts[:2]), "/".join(parts[4:])
            content = self.repositories[repo][file]
            digest = hashlib.sha256(content).hexdigest()
            headers = {
                "Location": f"{self.url.replace('127.0.0.1', 'localhost')}/cdn/{repo}/{file}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(content)),
                "X-Linked-ETag": f'"{digest}"',
                "ETag": f'"{digest}"',
            }
            return self._send(request, 302, headers, b"")
        return self._send(request, 404, {}, b"")

    def _model(self, request: BaseHTTPRequestHandler, repo: str, revision: str) -> None:
        if repo in self.refused:
            code, error = self.refused[repo]
            return self._send(request, code, {"X-Error-Code": error, "X-Error-Message": "no"}, b"{}")
        if repo not in self.repositories:
            return self._send(request, 404, {"X-Error-Code": "RepoNotFound"}, b"{}")
        if revision not in ("main", COMMIT):
            return self._send(request, 404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": hashlib.sha1(content).hexdigest(),
                "lfs": {
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "size": len(content),
                    "pointerSize": 130,
                },
            }
            for name, content in self.repositories[repo].items()
        ]
        answer = {"id": repo, "modelId": repo, "sha": COMMIT, "tags": [], "siblings": siblings}
        return self._send(request, 200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def _bytes(self, request: BaseHTTPRequestHandler, content: bytes, body: bool) -> None:
        asked = request.headers.get("Range")
        first, _, last = asked.removeprefix("bytes=").partition("-") if asked else ("0", "", "")
        if int(first) >= len(content):
            self._send(request, 416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        rest = content[int(first) : int(last) + 1 if last else None]
        request.send_response(206 if asked else 200)
        request.send_header("Content-Length", str(len(rest)))
        request.send_header("Accept-Ranges", "bytes")
        kind = "text/html" if content.startswith(b"<!DOCTYPE") else "application/octet-stream"
        request.send_header("Content-Type", kind)
        if asked:
            request.send_header("Content-Range", f"bytes {first}-{int(first) + len(rest) - 1}/{len(content)}")
        request.end_headers()
        if not body:
            return
        try:
            sent = rest if self.cut is None else rest[: self.cut]
            for start in range(0, len(sent), 1 << 16):
                request.wfile.write(sent[start : start + (1 << 16)])
                request.wfile.flush()
                time.sleep(self.chunk_pause)
        except OSError:
            pass
        if len(sent) < len(rest):
            request.close_connection = True

    def _send(
        self, request: BaseHTTPRequestHandler, code: int, headers: dict[str, str], content: bytes
    ) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of the user of its own, and pip without the settings of this machine."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_")) or "proxy" in name.lower()]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("ZIGAI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, server: Server, tmp_path: Path) -> Server:
    """huggingface_hub, as it would be with HF_ENDPOINT and HF_HUB_CACHE set: it reads them when imported."""
    from huggingface_hub import _local_folder, file_download, hf_api  # noqa: F401 - loaded before patching

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return server


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, server: Server) -> Callable[..., str]:
    """Add a wheel to the local index. Returns the path of its URL; the wheel's SHA-256 is on its page."""

    def add(name: str, version: str, files: dict[str, bytes], **wrong: Any) -> str:
        content = wheel(name, version, files, record=wrong.get("record"))
        digest = wrong.get("digest") or hashlib.sha256(content).hexdigest()
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        server.files[f"/files/{file}"] = content
        page = server.files.get(f"/simple/{name}/", b"<!DOCTYPE html>")
        page += f'<a href="/files/{file}#sha256={digest}">{file}</a>'.encode()
        server.files[f"/simple/{name}/"] = page
        return f"/files/{file}"

    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    return add


def wheel(
    name: str, version: str, files: dict[str, bytes], *, record: dict[str, bytes] | None = None
) -> bytes:
    """A wheel with these files; `record`: other content for RECORD's checksums."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, data in {**content, **(record or {})}.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        lines.append(f"{path},sha256={digest},{len(data)}")
    content[f"{info}/RECORD"] = ("\n".join(lines) + f"\n{info}/RECORD,,\n").encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, data in content.items():
            archive.writestr(path, data)
    return written.getvalue()
