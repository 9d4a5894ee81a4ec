"""Lists of the collection's images, made one at a time and kept for the next pages."""

import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from retrieval.api import Index
from retrieval.search.listing import Listing, Order, list_images
from retrieval.web.errors import too_busy
from retrieval.web.limits import LISTED, LISTING_SECONDS, LISTINGS

FRESH_SECONDS = 10.0
"""Seconds a list is used for first pages; later pages take it as long as it is kept, so that nothing moves."""
WAITING = 16
"""Maximum number of requests that wait for a list."""


class Listings:
    """The last LISTINGS lists, each of at most LISTED images, 16 bytes an image."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._kept: OrderedDict[tuple[str, Order, str], tuple[Listing, float]] = OrderedDict()
        self._waiting, self._lock = 0, threading.Lock()
        self.pool = ThreadPoolExecutor(1, "list")
        """Reading a collection takes seconds; here it cannot keep searches waiting."""

    def enter(self) -> None:
        """Count a request that will wait for the pool. Raises HTTPException 503 if too many do."""
        with self._lock:
            if self._waiting >= WAITING:
                raise too_busy()
            self._waiting += 1

    def leave(self) -> None:
        """The request has its answer."""
        with self._lock:
            self._waiting -= 1

    def find(self, order: Order, text: str, *, first: bool) -> Listing:
        """The list of the images that meet a filter. Called in the pool. Raises UsageError.

        text: the filter, or empty
        first: for a first page
        """
        key = (self._index.current().collection, order, text)
        kept, made = self._kept.get(key, (None, 0.0))
        if kept and not (first and time.monotonic() - made > FRESH_SECONDS):
            self._kept.move_to_end(key)
            return kept
        where = self._index.filter(text or None, pages=1)
        found = list_images(self._index.store, key[0], order, where, most=LISTED, seconds=LISTING_SECONDS)
        self._kept[key] = (found, time.monotonic())
        self._kept.move_to_end(key)
        while len(self._kept) > LISTINGS:
            self._kept.popitem(last=False)
        return found
