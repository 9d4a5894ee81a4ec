"""Find out what a request to the server changes, from the request itself, so that no caller can forget to lock it."""

import re
from dataclasses import dataclass

import httpx

_PATH = re.compile(r"/collections/(?P<name>[^/]+)(?P<rest>/.*)?")
_READS = re.compile(r"/points(/scroll|/count|/query|/query/batch)?|/facet")
"""POST requests that change nothing; every other one counts as a write."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a request changes.

    words: the request, for a message
    collection: the one that is changed; None for aliases
    final: it cannot be undone
    """

    words: str
    collection: str | None
    final: bool


def find_change(request: httpx.Request) -> Change | None:
    """What the request changes; None if it only reads.

    >>> find_change(httpx.Request("POST", "http://127.0.0.1:6333/collections/a/points/scroll"))
    >>> find_change(httpx.Request("PUT", "http://127.0.0.1:6333/collections/a/points"))
    Change(words='PUT /collections/a/points', collection='a', final=False)
    >>> find_change(httpx.Request("DELETE", "http://127.0.0.1:6333/collections/a")).final
    True
    """
    found = _PATH.search(request.url.path)
    name, rest = (found["name"], found["rest"] or "") if found else (None, "")
    if request.method == "GET" or (request.method == "POST" and _READS.fullmatch(rest)):
        return None
    words = f"{request.method} {found[0] if found else request.url.path}"
    if request.method == "POST" and name == "aliases" and not rest:
        return Change(words, None, final=True)
    return Change(words, name, final=rest == "/points/delete" or (request.method == "DELETE" and not rest))
