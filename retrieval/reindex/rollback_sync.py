"""What was written to a collection while it was live, carried over to an earlier one that is to be live again."""

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from retrieval.errors import Locked, StoreError, with_alias
from retrieval.ingest.image_url import make_image_url
from retrieval.ingest.payload import select_user_fields
from retrieval.schema.records import CollectionMeta, Payload, Point
from retrieval.store.base import Held, Store


@dataclass(slots=True)
class SyncCounts:
    """What was carried.

    points: number of points brought up to date in the earlier collection
    missing: source → number of images that came or changed since, and have no code by the earlier collection's model
    """

    points: int = 0
    missing: Counter[str] = field(default_factory=Counter)


def sync_earlier(store: Store, held: Held, left: str, back: str) -> SyncCounts:
    """Write the user's fields of `left` into `back`, and with the same model also the points that only `left` holds.

    A page at a time; a run that was cut off is simply run again. What only `back` knows stays. Points that cannot be
    carried are counted, and `back` notes where the user's fields of them are, for the next ingest and re-index.
    Raises Locked, and StoreError when one of the two cannot be read or written.
    """
    try:
        return copy_newer(store, held, left, back)
    except Locked:
        raise
    except StoreError as error:
        raise StoreError(
            f"what was written to {left} since cannot be carried over to {back}: {error}; {left} is live as before",
            hint="fix this and rerun the command, or go back without it: retrieval rollback --as-it-was",
        ) from error


def copy_newer(store: Store, held: Held, left: str, back: str) -> SyncCounts:
    """As `sync_earlier`; raises what the engine raises."""
    done, own, theirs = SyncCounts(), store.metadata(back), store.metadata(left)
    meta = replace(own.in_place_of(theirs), left=(left, *theirs.left))
    held.check()
    store.set_metadata(back, meta)
    same_model = own.model == theirs.model
    for page in store.scroll(left, codes=same_model):
        there = store.retrieve(back, [point.id for point in page])
        payloads: dict[str, Payload] = {}
        points: list[Point] = []
        for point in page:
            known = there[point.id].payload if point.id in there else {}
            newer = known.get("sha256") != point.payload.get("sha256")
            if newer and same_model:
                points.append(replace(point, payload={**select_user_fields(known), **point.payload}))
                continue
            done.missing[str(point.payload.get("source"))] += newer
            told = {**known, **select_user_fields(point.payload), **make_image_url(meta.public_url, point.id)}
            if known and told != known:
                payloads[point.id] = told
        held.check()
        store.upsert(back, points)
        store.set_payload(back, payloads)
        done.points += len(points) + len(payloads)
    done.missing = +done.missing
    return done


def list_ingest_commands(meta: CollectionMeta, alias: str, sources: Iterable[str]) -> list[str]:
    """What brings the sources' missing images in, one command line each."""
    return [
        with_alias(
            shlex.join(
                [
                    *("retrieval", "ingest", meta.sources[name], "--name", name),
                    *(("--labels", "folder") if name in meta.labelled else ()),
                ]
            ),
            alias,
        )
        for name in sources
        if name in meta.sources
    ]
