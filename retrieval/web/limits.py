"""What a client may ask of the service at most: sizes, times, numbers at once."""

from dataclasses import dataclass

RATE = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    upload: of a request's body · small: of a body that is read at once, larger ones wait for one of `large` places ·
    body_seconds: from a request's head to the end of its body · request_seconds: to the end of the answer ·
    head_seconds: a connection without a request is closed then · pixels: of a picture · decoders: pictures opened at
    once · decode_seconds: for one, waiting included · askers: requests that the engine works on at once · waiting:
    searches in the queue · connections: open at once · rate: requests of one client in a second, 0: any number.
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
"""Hits of one search."""
MAX_EXAMPLES = 32
"""Pictures to be like, and to be unlike."""
MAX_SAMPLE = 60
MAX_FACETS = 100
"""Values of a field that are counted."""
