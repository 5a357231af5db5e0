"""The pages and slots of all groups of states, and which sequence has which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from functools import partial

from zigai_core.contracts.plugins import Executor, Program
from zigai_core.engine.pages import PagePool, window_pages
from zigai_core.engine.prefix import Hit, Node, PrefixIndex
from zigai_core.engine.request import MOST_DRAFT_TOKENS
from zigai_core.engine.sequence import Sequence

CHECKPOINT_EVERY = 1024
"""Tokens between the recurrent states of a prompt that are kept for later requests."""


class StepPart:
    """The rows of one sequence in a step: `count` tokens from `start` on, the last `drafts` of them drafts.

    `writes[g]` are the slots that a recurrent group writes: by row, counted from `start`.
    """

    __slots__ = ("count", "drafts", "first_output", "held", "outputs", "row", "sequence", "start", "writes")

    def __init__(self, sequence: Sequence, count: int, drafts: int) -> None:
        self.sequence = sequence
        self.start = sequence.computed
        self.count = count
        self.drafts = drafts
        self.held = sequence.held
        """Pages that the sequence had before the step."""
        self.writes: dict[int, dict[int, int]] = {}
        self.row = 0
        """The first row in the step."""
        self.outputs = 0
        """Number of output rows, the last rows of the part, or all of them."""
        self.first_output = 0
        """The first of them among the step's output rows."""


class Memory:
    """A pool for each group, and the prefix index over them.

    Between steps, a sequence holds `ceil(computed / page)` pages of each cache, except those that a window
    gave up, and one slot of each recurrent group. No page with more than one user is ever written: only whole
    pages are shared, and a part of a page is copied.
    """

    def __init__(self, program: Program, executor: Executor) -> None:
        self.page = program.options.page
        self.groups = program.graph.groups
        self.recurrent = [g for g, group in enumerate(self.groups) if group.recurrent]
        self.caches = [g for g, group in enumerate(self.groups) if not group.recurrent]
        self._every = max(1, CHECKPOINT_EVERY // self.page) * self.page
        self._batch = program.options.batch
        self._executor = executor
        self.reset(())

    def reset(self, sequences: Iterable[Sequence]) -> None:
        """Forgets everything; nothing of these sequences, which must be all, is computed then."""
        self.pools = [PagePool(size, partial(self._forget, g)) for g, size in enumerate(self._executor.sizes)]
        self.index = PrefixIndex(self.groups, self.page, self.pools)
        for sequence in sequences:
            sequence.clear()

    def close(self) -> None:
        """Lets go of the executor. May be called again."""
        vars(self).pop("_executor", None)

    def adopt(self, sequence: Sequence, limit: int, headroom: int) -> bool:
        """Gives a sequence without pages the longest prefix that is known, of at most `limit` tokens.

        False, and nothing is given, if there is no room for all the sequence's tokens and `headroom` pages
        more. Raises what the executor raises.
        """
        index, cached = self.index, sequence.request.cache
        hit = index.find(sequence.tokens, limit) if cached and limit > 0 else Hit(0, ())
        shared = self._shared(hit)
        for g, pages in shared:
            for page in pages:
                self.pools[g].share(page)
        if not self._has_room(sequence, hit, dict(shared), headroom):
            self._give_back(shared)
            return False
        length = len(hit.path) * self.page
        copies: list[int] | None = None
        if hit.tail is not None:
            try:
                copies = self._copy(hit.tail.pages)
            except BaseException:
                self._give_back(shared)
                raise
        for g, pages in shared:
            if g in self.recurrent:
                sequence.slots[g] = pages[0]
                continue
            first = len(hit.path) - len(pages)
            sequence.extend_table(g, [-1] * first + pages, 0)
            sequence.given_up[g] = first
        sequence.held = len(hit.path)
        if copies is not None:
            for g, page in zip(self.caches, copies, strict=True):
                sequence.extend_table(g, [page], sequence.held)
            sequence.held += 1
            length = hit.length
        sequence.computed = length
        if cached:
            sequence.node = hit.path[-1] if hit.path else index.root
            sequence.node.holders += 1
        return True

    def reserve(self, sequence: Sequence, count: int, drafts: int) -> StepPart | None:
        """Returns a part with pages for the next `count` tokens and slots for them; None without room."""
        pools, part = self.pools, StepPart(sequence, count, drafts)
        end = part.start + count
        wanted = -(-end // self.page) - sequence.held
        if wanted > 0 and any(pools[g].available < wanted for g in self.caches):
            return None
        if any(pools[g].available <= drafts for g in self.recurrent):
            return None
        if wanted > 0:
            for g in self.caches:
                sequence.extend_table(g, self._take(g, wanted), sequence.held)
            sequence.held += wanted
        for g in self.recurrent:
            rows = range(count - 1 - drafts, count)
            part.writes[g] = dict(zip(rows, self._take(g, drafts + 1), strict=True))
            for row in self._checkpoints(part):
                if row not in part.writes[g] and (slot := pools[g].take()) is not None:
                    part.writes[g][row] = slot
        return part

    def fits(self, sequence: Sequence) -> int:
        """Returns how many tokens more there are pages for."""
        places = [(sequence.held + self.pools[g].available) * self.page for g in self.caches]
        return min(places) - sequence.computed if places else self._batch

    def undo(self, part: StepPart) -> None:
        """Gives back what `reserve` gave."""
        self._trim(part.sequence, part.held)
        for g, writes in part.writes.items():
            for slot in writes.values():
                self.pools[g].release(slot)
        part.writes = {}

    def commit(self, part: StepPart, accepted: int) -> None:
        """Counts a part's rows as computed, of its drafts the first `accepted`; gives the rest back."""
        sequence = part.sequence
        rows = part.count - part.drafts + accepted
        sequence.computed = part.start + rows
        before = sequence.held if not part.drafts else -(-sequence.computed // self.page)
        self._trim(sequence, before)
        if sequence.node is not None and sequence.computed // self.page > part.start // self.page:
            self._list(part)
        for g, writes in part.writes.items():
            pool = self.pools[g]
            if sequence.slots[g] >= 0:
                pool.release(sequence.slots[g])
            sequence.slots[g] = writes.pop(rows - 1)
            for slot in writes.values():
                pool.release(slot)
        part.writes = {}
        for g in self.caches:
            window = self.groups[g].window
            if window is not None:
                self._give_up(sequence, g, sequence.computed - window - MOST_DRAFT_TOKENS)

    def list_inside(self, sequence: Sequence) -> None:
        """Lists the last page of a sequence if it is not full, so that it is found and copied."""
        count = sequence.computed // self.page
        if sequence.node is None or self.recurrent or sequence.computed == count * self.page:
            return
        tokens = sequence.buffer[count * self.page : sequence.computed].tobytes()
        node = self.index.child(sequence.node, tokens)
        for g in self.caches:
            self.index.put(node, g, int(sequence.tables[g][count]))
        self.index.prune(node)

    def release(self, sequence: Sequence) -> None:
        """Takes everything from a sequence; what can be found by prefix is known then."""
        self.list_inside(sequence)
        self._trim(sequence, 0)
        for g in self.recurrent:
            if sequence.slots[g] >= 0:
                self.pools[g].release(sequence.slots[g])
        if sequence.node is not None:
            sequence.node.holders -= 1
            self.index.prune(sequence.node)
        sequence.clear()

    def check(self, sequences: Many[Sequence]) -> None:
        """Raises `AssertionError` unless pools, index and these sequences, which must be all, agree."""
        self.index.check()
        holders: dict[int, int] = {}
        for sequence in sequences:
            if sequence.node is not None:
                holders[id(sequence.node)] = holders.get(id(sequence.node), 0) + 1
            assert sequence.computed <= sequence.length, "more tokens are computed than there are"
            pages = -(-sequence.computed // self.page)
            assert not self.caches or sequence.held == pages, f"{sequence.held} pages, not {pages}, are held"
            assert all((sequence.slots[g] >= 0) == (sequence.computed > 0) for g in self.recurrent)
            for g in self.caches:
                self._check_table(sequence, g)
        for g, pool in enumerate(self.pools):
            if g in self.recurrent:
                held = [s.slots[g] for s in sequences if s.slots[g] >= 0]
            else:
                held = [int(page) for s in sequences for page in s.tables[g][: s.held] if page >= 0]
            pool.check(held, self.index.listed(g))
        nodes = [self.index.root]
        while nodes:
            node = nodes.pop()
            assert node.holders == holders.pop(id(node), 0), "the holders of a node are not its sequences"
            nodes.extend(node.children.values())
        assert not holders, "a sequence is at a node that is not in the index"

    def _check_table(self, sequence: Sequence, group: int) -> None:
        window, given_up = self.groups[group].window, sequence.given_up[group]
        table = sequence.tables[group][: sequence.held]
        assert (table[given_up:] >= 0).all() and (table[:given_up] == -1).all(), "a page is missing"
        if window is None:
            assert not given_up, "a page was given up without a window"
        else:
            assert given_up * self.page <= max(0, sequence.computed - window + 1), "a page is needed still"

    def _forget(self, group: int, page: int) -> None:
        self.index.drop(group, page)

    def _shared(self, hit: Hit) -> list[tuple[int, list[int]]]:
        """By group, the pages or the slot of a hit that the sequence needs."""
        count, found = len(hit.path), []
        for g, kind in enumerate(self.groups if count else ()):
            first = 0
            if kind.recurrent:
                first = count - 1
            elif kind.window is not None:
                first = max(0, count * self.page - kind.window + 1) // self.page
            found.append((g, [node.pages[g] for node in hit.path[first:]]))
        return found

    def _has_room(self, sequence: Sequence, hit: Hit, shared: Mapping[int, list[int]], headroom: int) -> bool:
        for g in self.caches:
            window = self.groups[g].window
            pages = -(-sequence.length // self.page) - len(hit.path)
            if window is not None:
                most = window_pages(window, self._batch, self.page)
                pages = min(pages, max(1, most - len(shared.get(g, ()))))
            if self.pools[g].available < pages + headroom:
                return False
        return all(self.pools[g].available > 0 for g in self.recurrent)

    def _give_back(self, shared: Iterable[tuple[int, list[int]]]) -> None:
        for g, pages in shared:
            for page in reversed(pages):
                self.pools[g].release(page)

    def _copy(self, sources: Many[int]) -> list[int] | None:
        """Copies a page of each cache; returns the copies, or None if there is no room for them."""
        copies: list[int] = []
        done = False
        for g in self.caches:
            self.pools[g].share(sources[g])
        try:
            if all(self.pools[g].available for g in self.caches):
                for g in self.caches:
                    copies.extend(self._take(g, 1))
                    self._executor.copy(g, [(sources[g], copies[-1])])
                done = True
        finally:
            for g in self.caches:
                self.pools[g].release(sources[g])
            if not done:
                for g, page in zip(self.caches, copies, strict=False):
                    self.pools[g].release(page)
        return copies if done else None

    def _take(self, group: int, count: int) -> list[int]:
        pages = [self.pools[group].take() for _ in range(count)]
        assert None not in pages, "the caller has checked that there are enough"
        return [page for page in pages if page is not None]

    def _checkpoints(self, part: StepPart) -> list[int]:
        """The rows of a part whose state is kept: at the prompt's last whole page, and regularly."""
        sequence = part.sequence
        if sequence.node is None:
            return []
        first, end = part.start + 1, part.start + part.count - part.drafts
        cut = (sequence.begun_with - 1) // self.page * self.page
        lengths = list(range(-(-first // self._every) * self._every, end + 1, self._every))
        if first <= cut <= end and cut not in lengths:
            lengths.append(cut)
        return [length - part.start - 1 for length in lengths]

    def _list(self, part: StepPart) -> None:
        """Lists the pages that a part has filled, and its states at their ends."""
        sequence, index = part.sequence, self.index
        node = sequence.node
        assert node is not None
        node.holders -= 1
        for page in range(part.start // self.page, sequence.computed // self.page):
            end = (page + 1) * self.page
            node = index.child(node, sequence.buffer[end - self.page : end].tobytes())
            for g in self.caches:
                index.put(node, g, int(sequence.tables[g][page]))
            for g in self.recurrent:
                slot = part.writes[g].get(end - part.start - 1)
                if slot is not None and node.pages[g] < 0:
                    index.put(node, g, slot)
                    self._replace_checkpoint(sequence, g, slot, node, end)
        node.holders += 1
        sequence.node = node

    def _replace_checkpoint(self, sequence: Sequence, group: int, slot: int, node: Node, length: int) -> None:
        """Drops the reply's last checkpoint for a new one, so that only the one at its end is kept."""
        if length <= sequence.begun_with:
            return
        if sequence.checkpoint is not None:
            g, old, last = sequence.checkpoint
            if last.pages[g] == old:
                self.index.drop(g, old)
            sequence.checkpoint = None
        if length % self._every:
            sequence.checkpoint = (group, slot, node)

    def _trim(self, sequence: Sequence, held: int) -> None:
        """Gives back the pages from entry `held` on, the last first."""
        if held >= sequence.held:
            return
        for g in self.caches:
            pool, table = self.pools[g], sequence.tables[g]
            for page in table[held : sequence.held][::-1].tolist():
                if page >= 0:
                    pool.release(page)
        sequence.held = held

    def _give_up(self, sequence: Sequence, group: int, bound: int) -> None:
        """Gives back a window's pages that end at `bound` or before."""
        first, end = sequence.given_up[group], max(0, bound) // self.page
        if end <= first:
            return
        table = sequence.tables[group]
        for page in table[first:end].tolist():
            if page >= 0:
                self.pools[group].release(page)
        table[first:end] = -1
        sequence.given_up[group] = end
