"""The `image_url` field of payloads: an image's URL at the service. The Qdrant dashboard shows images from it."""

from dataclasses import replace

from retrieval.schema.records import Payload
from retrieval.store.base import Store, resolve
from retrieval.util.reporting import ReportCount, ignore


def make_image_url(public_url: str | None, point: str) -> Payload:
    """The `image_url` field of a point's payload; empty without a public URL.

    The dashboard shows an image for an absolute http URL whose path ends in an image's suffix, in lower case.

    >>> make_image_url("http://127.0.0.1:8000", "0b2e")
    {'image_url': 'http://127.0.0.1:8000/images/0b2e.jpg'}
    """
    return {"image_url": f"{public_url}/images/{point}.jpg"} if public_url else {}


def set_public_url(store: Store, alias: str, public_url: str, report: ReportCount = ignore) -> tuple[str, int]:
    """Write each image's URL into the payloads of the alias's collection, and record the public URL for later jobs.

    store: the engine
    alias: of the collection
    public_url: of the service; checked as `Settings.public_url` is
    report: called after each page of points

    Returns the collection and the number of points changed. A killed run is completed by the next. Raises
    NoCollection, Locked.
    """
    with store.lock(alias) as held:
        collection = resolve(store, alias)
        meta, total, seen, changed = store.metadata(collection), store.count(collection), 0, 0
        store.set_metadata(collection, replace(meta, public_url=public_url))
        for page in store.scroll(collection):
            updated = {point.id: {**point.payload, **make_image_url(public_url, point.id)} for point in page}
            fresh = {point.id: updated[point.id] for point in page if updated[point.id] != point.payload}
            held.check()
            store.set_payload(collection, fresh)
            seen, changed = seen + len(page), changed + len(fresh)
            report(seen, total)
    return collection, changed
