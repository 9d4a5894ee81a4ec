"""Bring an earlier collection up to date before it becomes live again: carry over what was written since."""

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
    """What was carried over.

    points: number of points updated in the earlier collection
    missing: source → number of new or changed images that have no embedding of the earlier collection's model
    """

    points: int = 0
    missing: Counter[str] = field(default_factory=Counter)


def sync_earlier(store: Store, held: Held, left: str, back: str) -> SyncCounts:
    """Copy the users' fields of `left` to `back`, and if the model is the same, also new and changed points.

    Works a page at a time; an interrupted run can be repeated. What only `back` holds is kept. Points that cannot be
    copied are counted, and `back` records `left`, so that the next ingest or re-index finds their users' fields.

    store: the engine
    held: the lock of the alias
    left: the collection that is live now
    back: the earlier collection

    Raises Locked, and StoreError when one of the two cannot be read or written.
    """
    try:
        return copy_newer(store, held, left, back)
    except Locked:
        raise
    except StoreError as error:
        raise StoreError(
            f"what was written to {left} since cannot be carried over to {back}: {error}; {left} is still live",
            hint="fix this and rerun the command, or go back without these changes: retrieval rollback --as-it-was",
        ) from error


def copy_newer(store: Store, held: Held, left: str, back: str) -> SyncCounts:
    """As `sync_earlier`; raises what the engine raises."""
    done, own, theirs = SyncCounts(), store.metadata(back), store.metadata(left)
    meta = replace(own.with_user_fields_of(theirs), left=(left, *theirs.left))
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
            url = make_image_url(meta.public_url, point.id)
            if newer and same_model:
                points.append(replace(point, payload={**select_user_fields(known), **point.payload, **url}))
                continue
            done.missing[str(point.payload.get("source"))] += newer
            updated = {**known, **select_user_fields(point.payload), **url}
            if known and updated != known:
                payloads[point.id] = updated
        held.check()
        store.upsert(back, points)
        store.set_payload(back, payloads)
        done.points += len(points) + len(payloads)
    done.missing = +done.missing
    return done


def list_ingest_commands(meta: CollectionMeta, alias: str, sources: Iterable[str]) -> list[str]:
    """The commands that ingest the missing images, one for each source."""
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
