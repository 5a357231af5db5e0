"""Aliases: the list that comes with the package, and the user's `models.toml`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zigai_core.contracts.errors import DownloadError
from zigai_hub import AliasSource


def write(home: Path, text: str) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "models.toml").write_text(text, encoding="utf-8")


def test_the_curated_models_have_size_licence_and_a_checksum_for_pypi() -> None:
    offers = {offer.name: offer for offer in AliasSource().offered()}
    assert {"smollm2", "qwen", "llama"} <= set(offers)
    for offer in offers.values():
        assert offer.nbytes > 0
        assert offer.licence
        assert offer.about
        if offer.model.startswith("pypi:"):
            assert "#sha256=" in (AliasSource().target(offer.name) or "")


def test_the_users_entry_wins(home: Path) -> None:
    write(home, '[qwen]\nmodel = "hf:me/mine"\n[own]\nmodel = "/models/own.gguf"\nlicence = "MIT"\n')
    source = AliasSource()
    assert source.target("qwen") == "hf:me/mine"
    assert source.target("own") == "/models/own.gguf"
    assert source.target("smollm2") is not None


def test_an_unknown_alias_names_the_nearest() -> None:
    with pytest.raises(DownloadError, match=r"did you mean smollm2\?"):
        AliasSource().target("smollm")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[a]\nmodel = "x"\n[b\n', r"models.toml: not TOML: .*line 3"),
        ('[a]\nmodel = "x"\n\n[b]\nabout = "y"\n', r"models.toml: line 4: write the alias b"),
        ('a = "hf:x/y"\n', r"line 1: write the alias a as a table"),
        ('[a]\nmodel = "x"\ncolour = "red"\n', r"line 1: .*unknown field 'colour'"),
        ('[a]\nmodel = "x"\nbytes = "many"\n', r"a.bytes must be int"),
        ('[a]\nmodel = "x"\nsha256 = "12"\n', r"64 hexadecimal digits"),
        ('["a b"]\nmodel = "x"\n', r"must be of letters"),
    ],
)
def test_a_broken_file_is_one_line_with_its_line_number(home: Path, text: str, error: str) -> None:
    write(home, text)
    with pytest.raises(DownloadError, match=error):
        AliasSource().offered()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_a_file_that_is_none_is_refused(home: Path) -> None:
    (home / "config").mkdir(parents=True)
    os.mkfifo(home / "config" / "models.toml")
    with pytest.raises(DownloadError, match="not a regular file"):
        AliasSource().offered()
