"""`hf:` against a local server that speaks the hub's API."""

from __future__ import annotations

import hashlib
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from zigai_core.api.registry import Plugins
from zigai_core.api.sources import locate
from zigai_core.contracts.errors import DownloadError, MissingFileError
from zigai_hub import HubSource, download, hub_api

REPO = "maker/tiny-GGUF"
CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def source(hub: Any) -> HubSource:
    hub.repositories[REPO] = {
        "README.md": b"read",
        "tiny-q4_k_m.gguf": CONTENT,
        "tiny-Q8_0.gguf": CONTENT * 2,
    }
    return HubSource()


def test_a_named_quantisation_is_downloaded_found_listed_and_removed(source: HubSource, hub: Any) -> None:
    steps: list[tuple[str, int, int]] = []
    assert source.find(f"{REPO}:Q4_K_M") is None
    path = source.pull(f"{REPO}:Q4_K_M", lambda *step: steps.append(step))
    assert path.read_bytes() == CONTENT
    assert steps[0][1:] == (0, len(CONTENT))
    assert steps[-1][1:] == (len(CONTENT), len(CONTENT))
    assert source.find(f"{REPO}:q4_k_m") == source.find(REPO) == path
    assert [(m.name, m.nbytes, m.complete) for m in source.stored()] == [
        (f"hf:{REPO}:Q4_K_M", len(CONTENT), True)
    ]
    asked = len(hub.ranges())
    assert source.pull(f"{REPO}:Q4_K_M") == path
    assert len(hub.ranges()) == asked
    path.resolve().write_bytes(CONTENT[:10])
    assert source.pull(f"{REPO}:Q4_K_M").read_bytes() == CONTENT, "a damaged file is downloaded again"
    assert source.remove(f"{REPO}:Q4_K_M") == len(CONTENT)
    assert source.find(REPO) is None
    assert list(source.stored()) == []


def test_several_quantisations_and_none_named_are_listed_with_sizes(source: HubSource) -> None:
    with pytest.raises(DownloadError, match=r"2 models.*:Q8_0 \(2 MB\), hf:maker/tiny-GGUF:Q4_K_M \(1 MB\)"):
        source.pull(REPO)
    with pytest.raises(DownloadError, match=r"has no Q5_0; it has hf:maker/tiny-GGUF:Q8_0"):
        source.pull(f"{REPO}:Q5_0")


def test_an_interrupted_download_is_resumed_and_never_taken_for_whole(source: HubSource, hub: Any) -> None:
    def stop(name: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    hub.repositories[REPO]["tiny-q4_k_m.gguf"] = content = CONTENT * 4
    with pytest.raises(KeyboardInterrupt):
        source.pull(f"{REPO}:Q4_K_M", stop)
    assert source.find(f"{REPO}:Q4_K_M") is None
    (model,) = source.stored()
    assert not model.complete
    assert 0 < model.nbytes < len(content)
    assert source.pull(f"{REPO}:Q4_K_M").read_bytes() == content
    assert hub.ranges()[-1] == f"bytes={model.nbytes}-"


def test_a_connection_that_breaks_is_taken_up_again(source: HubSource, hub: Any) -> None:
    hub.cut = 300_000
    assert source.pull(f"{REPO}:Q4_K_M").read_bytes() == CONTENT
    assert hub.ranges()[:2] == [None, f"bytes={300_000 // download.NETWORK_CHUNK * download.NETWORK_CHUNK}-"]


def test_content_with_a_wrong_checksum_is_deleted(source: HubSource, hub: Any) -> None:
    hub.wrong.add("tiny-q4_k_m.gguf")
    with pytest.raises(DownloadError, match="wrong checksum"):
        source.pull(f"{REPO}:Q4_K_M")
    assert list(source.stored()) == []
    with pytest.raises(DownloadError, match="wrong checksum: the hub gives"):
        source.pull(f"{REPO}:Q4_K_M#sha256={'0' * 64}")


def test_all_parts_of_a_split_model_are_downloaded_and_projectors_are_no_models(
    source: HubSource, hub: Any
) -> None:
    hub.repositories["maker/split"] = {
        "m-00001-of-00002.gguf": b"one",
        "m-00002-of-00002.gguf": b"two",
        "mmproj-f16.gguf": b"eye",
    }
    path = source.pull("maker/split")
    assert path.name == "m-00001-of-00002.gguf"
    assert (path.parent / "m-00002-of-00002.gguf").read_bytes() == b"two"
    assert source.find("maker/split") == path
    assert source.remove("maker/split") == 6


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (401, "RepoNotFound", "no such repository, or it is private.*HF_TOKEN"),
        (403, "GatedRepo", "gated: accept its terms.*HF_TOKEN"),
        (404, "RepoNotFound", "no such repository"),
        (403, "", "HTTP 403"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line(
    source: HubSource, hub: Any, code: int, error: str, text: str
) -> None:
    hub.refused["maker/closed"] = (code, error)
    with pytest.raises(DownloadError, match=text) as caught:
        source.pull("maker/closed")
    assert "\n" not in str(caught.value)


def test_gated_files_of_a_public_list_say_how_to_give_a_token(source: HubSource, hub: Any) -> None:
    hub.gated.add("tiny-Q8_0.gguf")
    with pytest.raises(DownloadError, match=r"refuses the file: HTTP 403: .*accept its terms.*HF_TOKEN"):
        source.pull(f"{REPO}:Q8_0")


def test_a_missing_revision_and_a_repository_without_gguf_are_named(source: HubSource, hub: Any) -> None:
    with pytest.raises(DownloadError, match="has no revision v9"):
        source.pull(f"{REPO}:Q4_K_M@v9")
    hub.repositories["maker/torch"] = {"model.safetensors": b"x", "README.md": b"y"}
    with pytest.raises(DownloadError, match=r"no GGUF model; it holds README.md, model.safetensors"):
        source.pull("maker/torch")


def test_without_a_network_the_error_tells_what_is_here(
    source: HubSource, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source.pull(f"{REPO}:Q4_K_M")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert source.find(REPO) == path
    with pytest.raises(DownloadError, match=r"HF_HUB_OFFLINE is set.*on this machine: hf:maker/tiny-GGUF:Q4"):
        source.pull(f"{REPO}:Q8_0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"127.0.0.1:9 cannot be reached.*on this machine: hf:maker/tiny"):
        source.pull(f"{REPO}:Q8_0")


def test_disk_space_is_checked_first(source: HubSource, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 99, 1))
    with pytest.raises(DownloadError, match=r"needs 1 MB in .*1 MB are free"):
        source.pull(f"{REPO}:Q4_K_M")
    assert hub.ranges() == []


@pytest.mark.parametrize("name", ["justone", "a/b/c.txt", "../x/y", "a/../b", "a/b:q 4", "a/b#md5=1"])
def test_a_name_of_another_form_is_refused(source: HubSource, name: str) -> None:
    with pytest.raises(DownloadError):
        source.pull(name)


def test_a_killed_download_that_has_all_bytes_is_checked_before_it_is_used(
    source: HubSource, hub: Any, tmp_path: Path
) -> None:
    blob = hub_api.blobs(REPO) / hashlib.sha256(CONTENT).hexdigest()
    blob.parent.mkdir(parents=True)
    part = blob.with_name(blob.name + download.SUFFIX)
    part.write_bytes(CONTENT[::-1])
    with pytest.raises(DownloadError, match="wrong checksum"):
        source.pull(f"{REPO}:Q4_K_M")
    assert not part.exists()
    part.write_bytes(CONTENT)
    assert source.pull(f"{REPO}:Q4_K_M").read_bytes() == CONTENT
    assert hub.ranges() == []


def test_the_name_of_a_repository_without_its_prefix_is_suggested_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plugins = Plugins(sources={"hf": HubSource})
    for name in ("Qwen/Qwen3-0.6B", "owner/name.v2", "a/b"):
        with pytest.raises(MissingFileError, match=f"^{name}: there is no such .* Hugging Face: hf:{name}$"):
            locate(name, plugins=plugins)
    (tmp_path / "here").mkdir()
    for path in ("here/absent", "a/b/c", "a/model.gguf", "./a/b", "../b", "~/b", "/a/b", "a/b c", "a/"):
        assert locate(path, plugins=plugins) == Path(path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    assert locate("a/b", plugins=plugins) == Path("a/b")
