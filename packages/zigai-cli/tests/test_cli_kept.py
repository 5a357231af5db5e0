"""The conversation that is being held: what of it is stored, and when."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zigai_cli.conversation.notebook import Notebook, Opened
from zigai_cli.failure import InputError
from zigai_cli.history.kept import Kept
from zigai_cli.history.store import Store, StoreError
from zigai_cli.history.stored import About


def turns(*texts: str) -> Any:
    """Messages of the user and the model in turn."""
    return [
        {"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(texts)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "history.sqlite") as opened:
        yield opened


def contents(store: Store) -> list[list[str]]:
    """The texts of each stored conversation, the first one first."""
    found = [store.get(entry.id) for entry in store.entries()]
    found.sort(key=lambda stored: stored.id if stored else 0)
    return [[message["content"] for message in stored.messages] for stored in found if stored]


def test_a_conversation_without_messages_is_not_stored(store: Store) -> None:
    notebook: Notebook = Kept(store)
    notebook.keep([], "be kind")
    notebook.rename("early")
    assert store.entries() == []
    notebook.keep(turns("a"), "be kind")
    assert [(entry.title, entry.about.system) for entry in store.entries()] == [("early", "be kind")]


def test_a_conversation_grows_and_is_changed_from_where_it_differs(store: Store) -> None:
    kept = Kept(store, About("m"))
    for messages in (turns("a"), turns("a", "b"), turns("a", "b", "c", "d"), turns("a", "b", "c", "D")):
        kept.keep(messages, None)
        assert contents(store) == [[message["content"] for message in messages]]
    kept.count({"generated_tokens": 3})
    stored = store.find("last")
    assert stored.counts == [None, None, None, {"generated_tokens": 3}]
    kept.keep(turns("a", "b"), None)
    assert contents(store) == [["a", "b"]]


def test_an_unchanged_conversation_is_not_written(store: Store) -> None:
    kept = Kept(store)
    kept.keep(turns("a", "b"), None)
    kept.keep(turns("a", "b"), None)
    assert store.find("last").revision == 0
    kept.keep(turns("a", "b"), "be brief")
    assert (store.find("last").revision, store.find("last").about.system) == (1, "be brief")


def test_what_a_full_context_drops_stays_in_the_store(store: Store) -> None:
    kept = Kept(store)
    kept.keep(turns("a", "b", "a", "b"), None)
    kept.dropped = 2
    kept.keep(turns("a", "b", "e"), None)
    kept.dropped = 4
    kept.keep(turns("e", "f"), None)
    assert contents(store) == [["a", "b", "a", "b", "e", "f"]]
    kept.keep(turns("edited"), None)
    assert contents(store) == [["a", "b", "a", "b", "edited"]], "the chat's first message was edited"
    kept.keep([], None)
    assert contents(store) == [["a", "b", "a", "b"]]


def test_a_first_message_edited_to_a_later_one_replaces_all(store: Store) -> None:
    kept = Kept(store)
    kept.keep(turns("a", "b", "c", "d"), None)
    kept.keep(turns("c"), None)
    assert contents(store) == [["c"]]


def test_a_conversation_whose_only_message_is_taken_back_is_deleted(store: Store) -> None:
    kept = Kept(store)
    kept.keep(turns("a", "b"), None)
    kept.keep([], None)
    assert store.entries() == []
    kept.keep(turns("c"), None)
    assert (store.entries()[0].title, contents(store)) == ("c", [["c"]])
    kept.rename("mine")
    kept.keep([], None)
    kept.keep(turns("d"), None)
    assert (store.entries()[0].title, contents(store)) == ("mine", [["d"]])


def test_after_a_reset_a_new_conversation_begins(store: Store) -> None:
    kept = Kept(store)
    kept.keep(turns("a", "b"), None)
    kept.rename("first")
    kept.leave()
    kept.keep(turns("c"), None)
    assert contents(store) == [["a", "b"], ["c"]]
    assert kept.names() == ["c", "first"]


def test_an_opened_conversation_goes_on(store: Store) -> None:
    Kept(store, About("model.gguf")).keep(turns("a", "b"), "be kind")
    kept = Kept(store)
    assert kept.open("a") == Opened(1, "a", turns("a", "b"), "be kind", "model.gguf")
    kept.keep(turns("a", "b", "c"), "be kind")
    assert contents(store) == [["a", "b", "c"]]
    with pytest.raises(InputError, match="no stored conversation 'x'"):
        kept.open("x")
    assert kept.id == 1, "a conversation that does not exist changes nothing"


def test_a_message_without_reply_is_left_out_and_then_replaced(store: Store) -> None:
    Kept(store).keep(turns("a", "b", "lost"), None)
    kept = Kept(store)
    opened = kept.open("last")
    assert (opened.messages, opened.unanswered) == (turns("a", "b"), "lost")
    assert contents(store) == [["a", "b", "lost"]]
    kept.keep(turns("a", "b", "c"), None)
    assert contents(store) == [["a", "b", "c"]]


@pytest.mark.parametrize("before", [[], ["a", "b"]])
def test_a_message_without_reply_stays_when_only_the_settings_change(store: Store, before: list[str]) -> None:
    Kept(store).keep(turns(*before, "question"), None)
    kept = Kept(store)
    opened = kept.open("last")
    kept.keep(opened.messages, "be brief")
    assert contents(store) == [[*before, "question"]]
    kept.keep(turns(*before, "other"), "be brief")
    assert contents(store) == [[*before, "other"]]
    kept.keep(turns(*before), "be brief")
    assert contents(store) == ([before] if before else [])


def test_a_conversation_that_another_process_changed_is_not_deleted(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(store)
    kept.keep(turns("a"), None)
    other = Kept(store)
    other.open("last")
    other.keep(turns("a", "b"), None)
    kept.keep([], None)
    assert contents(store) == [["a", "b"]]
    assert "changed by another process" in caplog.text


def test_two_chats_of_one_conversation_overwrite_neither(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    Kept(store).keep(turns("a", "b"), None)
    one, two = Kept(store), Kept(store)
    one.open("last")
    two.open("last")
    one.keep(turns("a", "b", "c"), None)
    with caplog.at_level(logging.WARNING, "zigai"):
        two.keep(turns("a", "b", "x"), None)
    assert contents(store) == [["a", "b", "c"], ["a", "b", "x"]]
    assert "changed by another process" in caplog.text
    one.keep(turns("a", "b", "c", "d"), None)
    two.keep(turns("a", "b", "x", "y"), None)
    assert contents(store) == [["a", "b", "c", "d"], ["a", "b", "x", "y"]]


def test_a_store_that_fails_is_reported_once_and_tried_again(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise StoreError("history.sqlite: database or disk is full")

    kept = Kept(store)
    kept.keep(turns("a"), None)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "zigai"):
        patched.setattr(store, "update", full)
        kept.keep(turns("a", "b"), None)
        kept.count({})
        kept.keep(turns("a", "b", "c"), None)
        kept.dropped = 2
    assert [record.getMessage() for record in caplog.records] == [
        "history.sqlite: database or disk is full; the conversation goes on, and the next message tries to "
        "store it"
    ]
    assert contents(store) == [["a"]]
    kept.keep(turns("c", "d"), None)
    assert contents(store) == [["a", "b", "c", "d"]]


def test_a_name_that_another_conversation_has_is_refused(store: Store) -> None:
    kept = Kept(store)
    kept.keep(turns("a"), None)
    kept.rename("shared")
    kept.leave()
    kept.keep(turns("b"), None)
    with pytest.raises(InputError, match="conversation 1 has the title 'shared'"):
        kept.rename("shared")
    assert [entry.title for entry in store.entries()] == ["b", "shared"]
