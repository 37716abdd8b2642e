"""Which pages of a shared cache each text has, counted on the host: whole pages may be shared, a page in use is not."""

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.ops.cached_attention import BLOCK


def pages_of(tokens: int) -> int:
    """Pages that so many tokens fill or begin."""
    return -(-tokens // BLOCK)


class PageTable:
    """The pages of the rows of a ``DecodeCache``.

    Page 0 belongs to nobody: rows look there for blocks that they do not have, and a pass writes there what it reads
    for a row without tokens.

    Args:
      rows: texts. tokens: most tokens of a row, whole pages. pool: tokens that all rows together have room for.

    Attributes:
      table: ``[rows, tokens / BLOCK] int32``, the pages of every row in order, 0 where it has none.
      pages: pages in the pool, the one of nobody among them.
      changed: whether ``table`` has changed since somebody set this to False.
    """

    def __init__(self, rows: int, tokens: int, pool: int):
        self.pages = pages_of(pool) + 1
        self.table = np.zeros((rows, tokens // BLOCK), np.int32)
        self.changed = True
        self._held = [0] * rows
        self._users = np.zeros(self.pages, np.int32)
        self._free = list(range(self.pages - 1, 0, -1))

    @property
    def free(self) -> int:
        """Pages that no row has."""
        return len(self._free)

    def room(self, row: int) -> int:
        """Tokens that a row has pages for."""
        return self._held[row] * BLOCK

    def lacking(self, row: int, source: int, shared: int, tokens: int) -> int:
        """Pages that are not there to ``share`` with ``source`` and then ``cover`` so many tokens; negative: too many.

        Args:
          shared: tokens that ``row`` begins with, which ``source`` (perhaps the same) has.
        """
        whole = shared // BLOCK
        kept = whole
        if source == row and shared % BLOCK:
            kept += int(self._users[self.table[row, whole]] == 1)
        own = self.table[row, : self._held[row]]
        others = own[kept:] if source == row else own[~np.isin(own, self.table[source, :whole])]
        return pages_of(tokens) - kept - self.free - int((self._users[others] == 1).sum())

    def cover(self, row: int, start: int, tokens: int) -> tuple[int, int] | None:
        """Gives a row pages for so many tokens, and the page that is to be written from ``start`` on to it alone.

        Returns:
          ``(page, its copy)`` if a page must be copied before it is written; None without.

        Raises:
          InputError: there are not so many free pages. Then nothing has changed.
        """
        block, copy = start // BLOCK, None
        if tokens <= start:
            return None
        shared = start % BLOCK > 0 and self._users[self.table[row, block]] > 1
        more = max(0, pages_of(tokens) - self._held[row])
        if more + shared > self.free:
            raise InputError("cache_tokens", (self.pages - 1) * BLOCK, f"is full: {more + shared} pages are missing")
        if shared:
            copy = int(self.table[row, block]), self._take()
            self._users[copy[0]] -= 1
            self.table[row, block] = copy[1]
            self.changed = True
        for _ in range(more):
            self.table[row, self._held[row]] = self._take()
            self._held[row] += 1
        return copy

    def share(self, source: int, row: int, tokens: int) -> tuple[int, int] | None:
        """Gives a row the first ``tokens`` of ``source`` in place of what it had; ``source`` may be the row itself.

        Returns, Raises: as ``cover``; the copy is of a page that is partly filled.
        """
        if source == row:
            self.shorten(row, tokens)
            return None
        whole, rest = divmod(tokens, BLOCK)
        if rest and self.lacking(row, source, tokens, tokens) > 0:
            raise InputError("cache_tokens", (self.pages - 1) * BLOCK, "is full: a page is missing")
        kept = self.table[source, :whole].copy()
        self._users[kept] += 1
        self.shorten(row, 0)
        self.table[row, :whole], self._held[row] = kept, whole
        if not rest:
            return None
        copy = int(self.table[source, whole]), self._take()
        self.table[row, whole], self._held[row] = copy[1], whole + 1
        return copy

    def shorten(self, row: int, tokens: int) -> None:
        """Takes the pages behind the first ``tokens`` from a row; what no other row has becomes free."""
        for block in range(pages_of(tokens), self._held[row]):
            page = self.table[row, block]
            self._users[page] -= 1
            if not self._users[page]:
                self._free.append(int(page))
            self.table[row, block] = 0
        self._held[row] = min(self._held[row], pages_of(tokens))
        self.changed = True

    def _take(self) -> int:
        page = self._free.pop()
        self._users[page] = 1
        self.changed = True
        return page
