"""A set of addresses that costs a sixteenth of the heap it covers.

A set of five million ids takes 400 MB; one byte for each sixteen bytes of address space that holds objects
takes 64 MB for a gigabyte, and looking one up is as fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

PAGE_BITS: Final = 18
GRAIN_BITS: Final = 4
SLOTS: Final = 1 << (PAGE_BITS - GRAIN_BITS)
SLOT_MASK: Final = SLOTS - 1
SATURATED: Final = 255


class Marks:
    """A counter for every address; what does not fit a byte is counted apart, which few objects need."""

    __slots__ = ("_beyond", "pages")

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self._beyond: dict[int, int] = {}

    def page(self, address: int) -> bytearray:
        """The page an address is on, made when it is new."""
        page = self.pages.get(address >> PAGE_BITS)
        if page is None:
            page = self.pages[address >> PAGE_BITS] = bytearray(SLOTS)
        return page

    def get(self, address: int) -> int:
        """Value at an address."""
        page = self.pages.get(address >> PAGE_BITS)
        value = 0 if page is None else page[(address >> GRAIN_BITS) & SLOT_MASK]
        return value if value < SATURATED else value + self._beyond.get(address, 0)

    def put(self, address: int) -> bool:
        """Mark an address; False when it was marked already."""
        page = self.page(address)
        slot = (address >> GRAIN_BITS) & SLOT_MASK
        if page[slot]:
            return False
        page[slot] = 1
        return True

    def put_all(self, addresses: Iterable[int]) -> None:
        """Mark many."""
        page_of = self.page
        for address in addresses:
            page_of(address)[(address >> GRAIN_BITS) & SLOT_MASK] = 1

    def bump_all(self, addresses: Iterable[int]) -> None:
        """Count up those that are marked already; the rest is left alone."""
        pages = self.pages
        for address in addresses:
            page = pages.get(address >> PAGE_BITS)
            if page is not None:
                slot = (address >> GRAIN_BITS) & SLOT_MASK
                value = page[slot]
                if 0 < value < SATURATED:
                    page[slot] = value + 1
                elif value:
                    self._beyond[address] = self._beyond.get(address, 0) + 1
