"""The pages, or the slots, of one group of states: who uses them, and which hold content worth finding again.

Paged caches are from Kwon et al., 2023, arXiv:2309.06180. The pages themselves belong to an executor.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

from zigai_core.engine.request import MOST_DRAFT_TOKENS, GroupStats


class PagePool:
    """Pages `0..count - 1`, each of them free, used or known.

    A used page has one or more users: sequences that hold it. A known page has none, but its content can be
    found by prefix. A page whose content can be found, used or known, is listed. When no page is free, `take`
    gives the known page that was used least recently, after `forget(page)`, which calls `unlist`.

    >>> pool = PagePool(2)
    >>> page = pool.take()
    >>> pool.list(page)
    >>> pool.release(page)
    >>> pool.stats()
    GroupStats(total=2, free=1, known=1, used=0)
    """

    def __init__(self, count: int, forget: Callable[[int], None] | None = None) -> None:
        self.count = count
        self._forget = forget
        self._users = [0] * count
        self._listed = bytearray(count)
        self._free = list(range(count - 1, -1, -1))
        self._known: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Number of pages that `take` can give: free and known ones."""
        return len(self._free) + len(self._known)

    def take(self) -> int | None:
        """Returns a page with one user; None if all are used."""
        if self._free:
            page = self._free.pop()
        elif self._known:
            page = next(iter(self._known))
            (self._forget or self.unlist)(page)
            self._free.pop()  # the page that was just freed
        else:
            return None
        self._users[page] = 1
        return page

    def share(self, page: int) -> None:
        """Adds a user to a used or known page."""
        if not self._users[page]:
            del self._known[page]
        self._users[page] += 1

    def release(self, page: int) -> None:
        """Removes a user. A page without any is known if it is listed, else free."""
        self._users[page] -= 1
        if not self._users[page]:
            if self._listed[page]:
                self._known[page] = None
            else:
                self._free.append(page)

    def list(self, page: int) -> None:
        """Marks a used page as one whose content can be found."""
        self._listed[page] = 1

    def unlist(self, page: int) -> None:
        """Marks a page as one whose content cannot be found any more; a known one is free then."""
        self._listed[page] = 0
        if page in self._known:
            del self._known[page]
            self._free.append(page)

    def stats(self) -> GroupStats:
        """Returns the counts."""
        free, known = len(self._free), len(self._known)
        return GroupStats(self.count, free, known, self.count - free - known)

    def check(self, held: Iterable[int], listed: Iterable[int]) -> None:
        """Raises `AssertionError` unless the pool agrees with the pages that sequences hold and the list.

        `held` has a page once for each sequence that holds it.
        """
        users = Counter(held)
        for page in range(self.count):
            assert self._users[page] == users[page], (
                f"page {page} has {self._users[page]} users, held by {users[page]}"
            )
        named = set(listed)
        assert {page for page in range(self.count) if self._listed[page]} == named, "listed pages differ"
        assert set(self._known) == {page for page in named if not users[page]}, "known pages differ"
        free = set(self._free)
        assert len(free) == len(self._free), "a page is free twice"
        assert free == {page for page in range(self.count) if not users[page] and page not in named}, (
            "free pages are not those without users and content"
        )


def window_pages(window: int, step: int, page: int) -> int:
    """Returns the most pages of a window that a sequence holds in a step of `step` tokens."""
    return -(-(window + step + MOST_DRAFT_TOKENS) // page) + 1
