"""Finds a distribution's wheel as pip would, by pip itself, and makes a session with pip's settings."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, get_netrc_auth

from zigai_core.contracts.errors import DownloadError, escape

_FIND = "--dry-run --no-deps --ignore-installed --no-input --only-binary :all:"
"""Options with which pip only finds. With the feature fast-deps it reads only a wheel's metadata."""

_OFFLINE = (
    "Could not fetch URL",
    "Retrying (",
    "Failed to establish",
    "Max retries",
    "ConnectionError",
    "Name or service",
    "timed out",
)


@dataclass(frozen=True)
class Wheel:
    """A wheel in an index: its URL, and the SHA-256 that the index gives (empty if it gives none)."""

    name: str
    version: str
    url: str
    sha256: str

    @property
    def file(self) -> str:
        """The wheel's file name."""
        return unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])


def find_wheel(requirement: str) -> Wheel:
    """The wheel that `pip install REQUIREMENT` would take, by pip's own settings; downloads at most metadata.

    `requirement`: a distribution's name, with `==VERSION` or not.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = _pip(
            "install", *_FIND.split(), "--report", str(report), "--use-feature=fast-deps", "--", requirement
        )
        if done.returncode == 2:  # a pip that reads metadata without the wheel anyway, or not at all
            done = _pip("install", *_FIND.split(), "--report", str(report), "--", requirement)
        if done.returncode:
            raise DownloadError(_explain(requirement, f"{done.stdout}\n{done.stderr}"))
        written = report.read_text(encoding="utf-8") if report.exists() else ""
    try:
        found = json.loads(written)["install"][0]
        info, metadata = found["download_info"], found["metadata"]
        hashes = info["archive_info"].get("hashes") or {}
        return Wheel(metadata["name"], metadata["version"], info["url"], hashes.get("sha256", ""))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"pypi:{requirement}: pip's report has no wheel: update pip: python -m pip install --upgrade pip"
        ) from error


def settings() -> dict[str, str]:
    """pip's settings: files, then environment variables, the later ones winning; names without a section."""
    done = _pip("config", "list")
    ranked: list[tuple[int, str, str]] = []
    for line in done.stdout.splitlines():
        key, sign, value = line.partition("=")
        section, dot, name = key.rpartition(".")
        rank = {"global": 0, "install": 1, ":env:": 2}.get(section)
        if sign and dot and rank is not None:
            try:
                ranked.append((rank, name.replace("_", "-"), str(ast.literal_eval(value))))
            except (ValueError, SyntaxError):
                continue
    return {name: value for _, name, value in sorted(ranked, key=lambda entry: entry[0])}


def session_for(url: str, given: dict[str, str]) -> tuple[requests.Session, str]:
    """A session with pip's proxy, certificates, trusted hosts and credentials; and the URL without them.

    Proxies of the environment and `.netrc` are used where pip is told nothing else.
    """
    session = requests.Session()
    session.trust_env = False  # it would overrule what pip is told; the environment is read here instead
    session.mount("https://", _SystemCertificates())
    proxy = given.get("proxy")
    session.proxies = {"http": proxy, "https": proxy} if proxy else get_environ_proxies(url)
    session.verify = given.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.auth = get_netrc_auth(url)
    session.cert = given.get("client-cert")
    parts = urlsplit(url)
    if {parts.hostname, _host(parts)} & set(given.get("trusted-host", "").split()):
        session.mount("https://", HTTPAdapter())
        session.verify = False
    for index in f"{given.get('index-url', '')} {given.get('extra-index-url', '')}".split():
        known = urlsplit(index)
        if known.username and _host(known) == _host(parts):
            session.auth = (unquote(known.username), unquote(known.password or ""))
    return session, urlunsplit(parts._replace(netloc=_host(parts)))


class _SystemCertificates(HTTPAdapter):
    """Trusts the system's certificates in addition to those that requests knows, as pip does."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kwargs["ssl_context"] = ssl.create_default_context()
        super().init_poolmanager(*args, **kwargs)


def _host(parts: Any) -> str:
    return str(parts.netloc.rpartition("@")[2])


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            "pypi: names need pip in this environment: install it with python -m ensurepip, or with "
            "uv pip install pip"
        )
    # -I would hide pip in a folder of PYTHONPATH; UTF-8, because the report is UTF-8 on every system.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    environment = os.environ | {"PYTHONUTF8": "1", "PIP_NO_COLOR": "1"}
    try:
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", env=environment, check=False
        )
    except OSError as error:
        raise DownloadError(f"pypi: pip cannot be started: {error.strerror or error}") from error


def _explain(requirement: str, output: str) -> str:
    errors = [line[7:] for line in output.splitlines() if line.startswith("ERROR: ")]
    first = escape(errors[0] if errors else output.strip() or "no reason given", 300)
    if any(sign in output for sign in _OFFLINE):
        return (
            f"pypi:{requirement}: the package index cannot be reached: check the network and pip config list"
        )
    return f"pypi:{requirement}: pip finds no wheel of it: {first}"
