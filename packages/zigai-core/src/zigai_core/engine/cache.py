"""The page tables of the cache (Kwon et al., 2023, arXiv:2309.06180): in which pages a sequence lies.

Only the tables live here; the pages themselves belong to a backend's `Context`. Sequences may share pages
(a fork, a common prefix); a shared page is copied before anything is written into it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.errors import ContextOverflowError


class PagePool:
    """The pages of one context, counted by how many sequences use each.

    >>> pool = PagePool(pages=4, page=2)
    >>> a = pool.new_sequence()
    >>> a.reserve(3), a.commit(3)
    ([], None)
    >>> b = a.fork()
    >>> b.reserve(1)                # the half-filled page is shared: copy it before writing
    [(1, 2)]
    >>> pool.free_pages
    1
    """

    def __init__(self, pages: int, page: int) -> None:
        self.page = page
        self._users = [0] * pages
        self._free = list(range(pages - 1, -1, -1))

    @property
    def free_pages(self) -> int:
        """Pages that no sequence uses."""
        return len(self._free)

    def new_sequence(self) -> CachedSequence:
        """An empty sequence."""
        return CachedSequence(self, [], 0)

    def take(self) -> int:
        """A page for one user; `ContextOverflowError` where none is free."""
        if not self._free:
            raise ContextOverflowError(
                f"the cache is full: all {len(self._users)} pages of {self.page} tokens are in use; "
                "close a session or a fork, or make a context for more sequences"
            )
        page = self._free.pop()
        self._users[page] = 1
        return page

    def share(self, page: int) -> None:
        """One more user of a page."""
        self._users[page] += 1

    def release(self, page: int) -> None:
        """One user less; a page without any is free again."""
        self._users[page] -= 1
        if not self._users[page]:
            self._free.append(page)

    def shared(self, page: int) -> bool:
        """Whether more than one sequence uses a page."""
        return self._users[page] > 1


class CachedSequence:
    """The pages of one sequence and how many of its tokens they hold."""

    def __init__(self, pool: PagePool, pages: list[int], length: int) -> None:
        self.length = length
        self._pool = pool
        self._pages = pages

    @property
    def page_table(self) -> NDArray[np.int32]:
        """The pages in order of position, int32."""
        return np.array(self._pages, dtype=np.int32)

    def reserve(self, tokens: int) -> list[tuple[int, int]]:
        """Make room for so many more tokens; all of it or, with `ContextOverflowError`, nothing.

        The pairs `(from, to)` it gives are pages to be copied before the room is written to.
        """
        pool, first = self._pool, self.length // self._pool.page
        needed = -(-(self.length + tokens) // pool.page)
        fresh: list[int] = []
        copies: list[tuple[int, int]] = []
        try:
            for index in range(first, needed):
                if index >= len(self._pages):
                    fresh.append(pool.take())
                elif pool.shared(self._pages[index]):
                    copies.append((self._pages[index], pool.take()))
        except ContextOverflowError:
            for page in [*fresh, *(target for _, target in copies)]:
                pool.release(page)
            raise
        for source, target in copies:
            self._pages[self._pages.index(source)] = target
            pool.release(source)
        self._pages.extend(fresh)
        return copies

    def commit(self, tokens: int) -> None:
        """So many of the reserved places are written now."""
        self.length += tokens

    def truncate(self, length: int) -> None:
        """Forget all tokens from position `length` on."""
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot truncate a sequence of {self.length} tokens to {length}")
        kept = -(-length // self._pool.page)
        for page in self._pages[kept:]:
            self._pool.release(page)
        del self._pages[kept:]
        self.length = length

    def fork(self, length: int | None = None) -> CachedSequence:
        """A second sequence with the same first `length` tokens (all of them by default), sharing pages."""
        length = self.length if length is None else length
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot fork a sequence of {self.length} tokens at {length}")
        pages = self._pages[: -(-length // self._pool.page)]
        for page in pages:
            self._pool.share(page)
        return CachedSequence(self._pool, list(pages), length)

    def free(self) -> None:
        """Give all pages back; the sequence is empty then and may be used again."""
        self.truncate(0)
