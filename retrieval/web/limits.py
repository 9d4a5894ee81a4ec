"""Limits on what a client may ask: sizes, times, requests at once."""

from dataclasses import dataclass

RATE = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    upload: size of a request's body
    small: size of a body that is read at once; larger ones wait for one of the places
    large: places for large bodies
    body_seconds: from the end of a request's head to the end of its body
    request_seconds: from the end of a request's head to the end of the answer
    head_seconds: a connection that has sent no request by then is closed
    pixels: of an image, height × width
    decoders: images decoded at once
    decode_seconds: for one image, including its wait for a decoder
    askers: requests that the engine works on at once
    waiting: searches in the queue
    connections: open at once
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
"""Hits of one search at most."""
MAX_EXAMPLES = 32
"""Images to be like, and images to be unlike, at most."""
MAX_SAMPLE = 60
"""Random images in one answer at most."""
MAX_FACETS = 100
"""Values of a field in one answer at most."""
