"""Limits for clients: sizes, times, rates, requests at once."""

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
    decoders: images decoded at once
    decode_seconds: for one image, including its wait for a decoder
    askers: requests to the engine at once
    waiting: maximum number of searches in the queue
    connections: maximum number of open connections
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
    decode_seconds: float = 20
    askers: int = 16
    waiting: int = 256
    connections: int = 512
    rate: int = RATE


MAX_K = 200
"""Maximum number of hits per search."""
MAX_EXAMPLES = 32
"""Maximum number of `like` images, and of `unlike` images."""
MAX_SAMPLE = 60
"""Maximum number of random images in an answer."""
MAX_FACETS = 100
"""Maximum number of values of a field in an answer."""
