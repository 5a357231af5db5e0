"""Full-text search: with the index of SQLite's FTS5 and without it, the same is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zigai_cli.failure import InputError
from zigai_cli.history import search as searching
from zigai_cli.history.search import excerpt, forget_removed, search
from zigai_cli.history.store import Store
from zigai_cli.history.stored import About

TEXTS = [
    'The "Straße" is long* and wide',
    "a longing for the SEA\nand its waves",
    "日本語のテキスト",
    "100% AND (sea",
]


@pytest.fixture(params=["with FTS5", "without FTS5"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "without FTS5":
        monkeypatch.setattr(searching, "bring_up_to_date", lambda store: False)
    with Store(tmp_path / "history.sqlite") as opened:
        for number, text in enumerate(TEXTS):
            opened.add(About(), [{"role": "user", "content": text}], f"title {number}")
        yield opened


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("long", [1, 2]),
        ("LONG wide", [1]),
        ("strasse", [1]),
        ("sea", [2, 4]),
        ("sea and", [2, 4]),
        ("語", [3]),
        ("本語の", [3]),
        ('"straße"', [1]),
        ("long*", [1]),
        ("(sea", [4]),
        ("100%", [4]),
        ("_", []),
        ("title 2", [3]),
        ("nothing here", []),
    ],
)
def test_every_word_is_held_whatever_its_case(store: Store, query: str, found: list[int]) -> None:
    assert sorted(each.conversation for each in search(store, query)) == found


def test_the_index_follows_changes(store: Store) -> None:
    assert [each.role for each in search(store, "waves")] == ["user"]
    stored = store.find("title 1")
    store.update(stored, About(), 0, [{"role": "user", "content": "mountains"}])
    assert search(store, "waves") == []
    assert [each.conversation for each in search(store, "mountain")] == [stored.id]
    store.remove([stored.id])
    assert search(store, "mountain") == []


def test_the_last_conversation_comes_first_and_the_number_is_limited(store: Store) -> None:
    store.update(store.find("title 1"), About(), 1, [])
    assert [each.conversation for each in search(store, "sea")] == [2, 4]
    assert len(search(store, "sea", 1)) == 1


def test_a_query_without_words_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="at least one word"):
        search(store, " ")


def test_a_search_in_text_that_was_deleted_leaves_nothing_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    with Store(file) as store:
        stored = store.add(About(), [{"role": "user", "content": "zqj"}])
        assert search(store, "zqj")
        assert b"zqj" in file.read_bytes()
        store.remove([stored.id])
        forget_removed(store)
    assert b"zqj" not in file.read_bytes()


def test_the_index_is_used(tmp_path: Path) -> None:
    with Store(tmp_path / "history.sqlite") as store:
        assert searching.bring_up_to_date(store), "the tests need an SQLite with FTS5"


def test_an_excerpt_is_a_line_around_the_word() -> None:
    assert excerpt("a\nb", ["b"]) == "a b"
    assert excerpt("x" * 100 + " word " + "y" * 100, ["word"]) == "…" + "x" * 39 + " word " + "y" * 39 + "…"
