"""Finds sequences' beginnings that were computed before, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zigai_core.contracts.state import StateGroup
from zigai_core.engine.pages import PagePool

LOOKED_AT = 64
"""Maximum number of pages, the newest ones, that are compared for a hit inside a page."""


class Node:
    """The tokens of one page after those of its parents, and the pages and slots that hold them by group.

    A page's entry is -1 if it is not known. The slot of a recurrent group holds the state after the node's
    last token. A node with fewer tokens than a page has no children. `holders` counts the sequences that are
    at this node; it stays in the tree for them.
    """

    __slots__ = ("children", "holders", "pages", "parent", "tokens")

    def __init__(self, parent: Node | None, tokens: bytes, groups: int) -> None:
        self.parent = parent
        self.tokens = tokens
        self.children: dict[bytes, Node] = {}
        self.pages = [-1] * groups
        self.holders = 0


class Hit(NamedTuple):
    """A beginning that was found: `length` tokens, in whole pages and a part of the page of `tail`."""

    length: int
    path: tuple[Node, ...]
    """The nodes of the whole pages, in order."""
    tail: Node | None = None


class PrefixIndex:
    """A tree of pages by their tokens. A child is found by a hash of its tokens, which are then compared.

    As each node is reached through its parents, two nodes are the same only if all tokens before them are.
    The idea is vLLM's chained block hashes (https://docs.vllm.ai/en/latest/design/prefix_caching.html), with
    the chain kept as links, so that it needs no trust in hashes.
    """

    def __init__(self, groups: Sequence[StateGroup], page: int, pools: Sequence[PagePool]) -> None:
        self.root = Node(None, b"", len(groups))
        self._groups = groups
        self._page = page
        self._pools = pools
        self._recurrent = any(group.recurrent for group in groups)
        self._owners: list[dict[int, Node]] = [{} for _ in groups]

    def find(self, tokens: NDArray[np.int32], limit: int) -> Hit:
        """Returns the longest beginning of `tokens`, of at most `limit`, that every group holds."""
        size, data = self._page, tokens.tobytes()
        node, path = self.root, []
        for first in range(0, limit // size * size, size):
            child = node.children.get(data[4 * first : 4 * (first + size)])
            if child is None:
                break
            path.append(child)
            node = child
        count = self._usable(path)
        del path[count:]
        length = count * size
        if not self._recurrent and length < limit:
            tail, inside = self._inside(path, tokens[length : min(limit, length + size)])
            if tail is not None:
                return Hit(length + inside, tuple(path), tail)
        return Hit(length, tuple(path))

    def child(self, node: Node, tokens: bytes) -> Node:
        """Returns the node of these tokens after `node`; makes it if needed."""
        found = node.children.get(tokens)
        if found is None:
            found = node.children[tokens] = Node(node, tokens, len(self._groups))
        return found

    def put(self, node: Node, group: int, page: int) -> None:
        """Lists a used page, or a slot, as the content of a node, unless the node has one already."""
        if node.pages[group] >= 0:
            return
        owner = self._owners[group].get(page)
        if owner is not None:  # a part of the page was listed before
            owner.pages[group] = -1
            self.prune(owner)
        node.pages[group] = page
        self._owners[group][page] = node
        self._pools[group].list(page)

    def drop(self, group: int, page: int) -> None:
        """Takes a page off the list: its content is about to change."""
        node = self._owners[group].pop(page)
        node.pages[group] = -1
        self._pools[group].unlist(page)
        self.prune(node)

    def prune(self, node: Node) -> None:
        """Removes a node that nothing needs, and those parents that only it needed."""
        while (
            node.parent is not None
            and not node.children
            and not node.holders
            and all(page < 0 for page in node.pages)
        ):
            if node.parent.children.get(node.tokens) is node:
                del node.parent.children[node.tokens]
            node = node.parent

    def listed(self, group: int) -> Iterator[int]:
        """Yields the listed pages of a group."""
        yield from self._owners[group]

    def check(self) -> None:
        """Raises `AssertionError` unless nodes and lists agree and no node is left without a need."""
        found: list[dict[int, Node]] = [{} for _ in self._groups]
        nodes = [self.root]
        while nodes:
            node = nodes.pop()
            for tokens, child in node.children.items():
                assert child.parent is node and child.tokens == tokens, "a node is not its parent's child"
                assert child.children or child.holders or max(child.pages) >= 0, (
                    "a node without a need is kept"
                )
                assert len(tokens) == 4 * self._page or not child.children, "a part of a page has children"
                nodes.append(child)
            for group, page in enumerate(node.pages):
                if page >= 0:
                    assert page not in found[group], f"page {page} is listed twice"
                    found[group][page] = node
        assert found == self._owners, "the listed pages are not those of the nodes"

    def _usable(self, path: Sequence[Node]) -> int:
        """The number of whole pages of `path`, at most, after which every group can go on."""
        count = len(path)
        for group, kind in enumerate(self._groups):
            if not kind.recurrent and kind.window is None:
                count = next((i for i in range(count) if path[i].pages[group] < 0), count)
        while count and not all(self._goes_on(path, count, group) for group in range(len(self._groups))):
            count -= 1
        return count

    def _goes_on(self, path: Sequence[Node], count: int, group: int) -> bool:
        kind = self._groups[group]
        if kind.recurrent:
            return path[count - 1].pages[group] >= 0
        if kind.window is None:
            return True
        first = max(0, count * self._page - kind.window + 1) // self._page
        return all(path[i].pages[group] >= 0 for i in range(first, count))

    def _inside(self, path: Sequence[Node], tokens: NDArray[np.int32]) -> tuple[Node | None, int]:
        """The child of the path's end that shares the most tokens, and how many."""
        best, most = None, 0
        parent = path[-1] if path else self.root
        for child in islice(reversed(parent.children.values()), LOOKED_AT):
            if min(child.pages, default=-1) < 0:
                continue
            theirs = np.frombuffer(child.tokens, np.int32)[: len(tokens)]
            equal = theirs == tokens[: len(theirs)]
            count = len(theirs) if equal.all() else int(np.argmin(equal))
            if count > most:
                best, most = child, count
        return best, most
