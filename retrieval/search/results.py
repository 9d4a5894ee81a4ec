"""What a query found, as clean as people want it: copies together, and what each distance means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from retrieval.nearness import FAR, UNLIKE, percentile
from retrieval.records import CollectionMeta, Hit
from retrieval.search.options import Options
from retrieval.search.query import Query, Stored

NOTHING_ALIKE = "nothing here looks like this"
NOTHING_ELSE = "nothing else in the collection"
NOTHING_MEETS = "nothing else in the collection meets the filter"


@dataclass(frozen=True, slots=True)
class Result:
    """A query's hits, nearest first; `refused` says why there are none when the query could not be used.

    unlike: the nearest there is, or was before hits that are too far were left out, is farther than chance brings ·
    filtered: hits had to meet a filter.
    """

    query: Query | Stored
    hits: list[Hit]
    refused: str | None = None
    unlike: bool = False
    filtered: bool = False

    @property
    def note(self) -> str | None:
        """What there is to say of the hits, or of there being none."""
        if self.refused is not None:
            return self.refused
        if self.unlike:
            return NOTHING_ALIKE
        if self.hits:
            return None
        return NOTHING_MEETS if self.filtered else NOTHING_ELSE

    def to_json(self) -> dict[str, Any]:
        if self.refused is not None:
            return {"query": self.query.name, "hits": [], "error": self.refused}
        note = {"note": self.note} if self.note else {}
        return {"query": self.query.name, "hits": [hit.to_json() for hit in self.hits], **note}


def clean(query: Query | Stored, found: Sequence[Hit], meta: CollectionMeta, options: Options) -> Result:
    """Hits from the engine as a result: copies collapsed, percentiles beside distances, what is too far left out."""
    hits = list(found) if options.keep_copies else collapsed(found)
    hits = [replace(hit, percentile=rounded(percentile(meta, hit.distance))) for hit in hits[: options.k]]
    near = [hit for hit in hits if near_enough(hit, options)]
    unlike = bool(hits) and (min((hit.percentile or 0.0) for hit in hits) >= UNLIKE or (options.cut and not near))
    return Result(query, near, unlike=unlike, filtered=options.where is not None)


def is_far(result: Result) -> bool:
    """Whether its nearest hit is farther than most neighbours are."""
    return bool(result.hits) and min(hit.percentile or 0.0 for hit in result.hits) >= FAR


def collapsed(hits: Sequence[Hit]) -> list[Hit]:
    """One hit for each content, the first of it; the others' names are its `copies`."""
    first: dict[str, Hit] = {}
    copies: dict[str, list[str]] = {}
    for hit in hits:
        content = str(hit.payload.get("sha256") or hit.id)
        if content in first:
            copies.setdefault(content, []).append(hit.name)
        else:
            first[content] = hit
    return [replace(hit, copies=tuple(copies.get(content, ()))) for content, hit in first.items()]


def near_enough(hit: Hit, options: Options) -> bool:
    """Whether a hit is within the limits asked for."""
    if options.max_distance is not None and hit.distance > options.max_distance:
        return False
    return options.max_percentile is None or hit.percentile is None or hit.percentile <= options.max_percentile


def rounded(share: float | None) -> float | None:
    """A percentile to the digit that its sample is worth."""
    return None if share is None else round(share, 1)
