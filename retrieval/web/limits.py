"""Limits for clients: sizes, times, rates, requests at once."""

import ipaddress
from dataclasses import dataclass

RATE = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    upload: maximum size of a request's body
    small: size up to which a body is read at once; larger ones wait for a slot
    large: number of slots for large bodies
    body_seconds: from the end of a request's head to the end of its body
    request_seconds: from the end of a request's head to the end of the answer
    head_seconds: a connection that has sent no request by then is closed
    pixels: maximum height × width of an image
    decoders: processes that decode images at once; one more decodes those that take long
    decode_seconds: of processor time, for one image
    decode_wait: maximum wait of an image for a process
    decode_bytes: memory for decoding, of all images at once
    renditions: bytes of the cache of drawn images on disk
    client_images: maximum number of images of one client that wait
    askers: requests to the engine at once
    waiting: maximum number of searches in the queue
    connections: maximum number of open connections
    client_connections: of one client
    rate: requests of one client per second, 0 for no limit
    """

    upload: int = 20 * 2**20
    small: int = 256 * 2**10
    large: int = 4
    body_seconds: float = 30
    request_seconds: float = 90
    head_seconds: float = 10
    pixels: int = 50_000_000
    decoders: int = 2
    decode_seconds: float = 10
    decode_wait: float = 20
    decode_bytes: int = 256 * 10**6
    renditions: int = 256 * 2**20
    client_images: int = 64
    askers: int = 16
    waiting: int = 256
    connections: int = 512
    client_connections: int = 256
    rate: int = RATE


MAX_K = 200
"""Maximum number of hits per search."""
MAX_EXAMPLES = 32
"""Maximum number of `like` images, and of `unlike` images."""
MAX_SAMPLE = 60
"""Maximum number of random images in an answer."""
MAX_SAME = 20
"""Maximum number of images with the query's own content in an answer."""
MAX_FOUND = 100
"""Maximum number of outliers, and of groups of duplicates, in an answer to an agent."""
MAX_OTHERS = 20
"""Maximum number of duplicates of one image in such an answer."""
MAX_FACETS = 100
"""Maximum number of values of a field in an answer."""

MAPPED = 20_000
"""Maximum number of images on the map: the first by id, a random sample."""
MAP_SECONDS = 300.0
"""Seconds that drawing the map may take, at a low priority."""
MAX_ROWS = 20
"""Maximum number of rows of a list to review in an answer."""
LISTED = 100_000
"""Maximum number of images in a list to browse."""
LISTINGS = 8
"""Lists kept for the next pages."""
LISTING_SECONDS = 20.0
"""Seconds that reading the collection for a list may take; the list then ends there."""
MOST_SEARCHED = 10_000
"""Values of a field, the most frequent ones, among which a text is looked for."""


def client_group(address: str) -> str:
    """What counts as one client: an address; of IPv6 the network of 64 bits that one customer has.

    >>> client_group("192.0.2.7"), client_group("2001:db8::1:2"), client_group("unknown")
    ('192.0.2.7', '2001:db8::/64', 'unknown')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))
