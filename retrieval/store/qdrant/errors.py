"""Errors of the Qdrant client as errors of ours, and whether to try again."""

import contextlib
from collections.abc import Sequence
from typing import Any

import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from retrieval.errors import NoCollection, StoreError, StoreUnavailable

QDRANT_ERRORS = (ApiException, QdrantException, ValueError)
"""All that the client raises; ValueError means an answer that is not JSON."""


FULL = "No space left"
"""In the words of a server whose disk is full."""
DISTRUST = "CERTIFICATE_VERIFY_FAILED"
"""In the words of an error: nobody whom this machine trusts signed the server's certificate."""


def translate_error(
    error: Exception, node: str, nodes: Sequence[str], key_name: str, heard: str, spent: float
) -> StoreError:
    """The error of ours: what went wrong, where, and what to do.

    node: the one asked last
    nodes: all of them
    key_name: the setting that holds the key
    heard: an earlier answer of a node, because the last try may only have run out of time
    spent: seconds
    """
    status = error.status_code if isinstance(error, UnexpectedResponse) else None
    words = reason(error)
    if status == 401:
        return StoreError(f"{node} needs an API key (401)", hint=f"set {key_name} to a valid one")
    if status == 403:
        return StoreError(f"{node}: the key in {key_name} does not allow this (403: {words})", hint="use one that does")
    if status == 404 and "ollection" in words:  # not a point that is not found
        return NoCollection(f"{node}: {words} (404)")
    if FULL in words:
        return StoreUnavailable(
            f"{node}: the server's disk is full ({words})", hint="make room there; what is stored is kept"
        )
    if DISTRUST in words:
        return StoreUnavailable(
            f"{node} has a certificate that is not trusted here ({words})",
            hint="put the certificate of who signed it into a file, and name that in SSL_CERT_FILE",
        )
    if retry_after(error) is not False and len(nodes) > 1:
        return StoreUnavailable(
            f"none of {', '.join(nodes)} answers ({heard or words}; tried for {spent:.0f} s)",
            hint="are they running, and is QDRANT_URL right?",
        )
    if retry_after(error) is not False:
        return StoreUnavailable(
            f"{node} does not answer ({words}; tried for {spent:.0f} s)",
            hint="is it running, and is QDRANT_URL right? To start one here: scripts/qdrant start",
        )
    if status in (400, 404, 409, 413, 422):
        return StoreError(f"{node} refused: {words} ({status})")
    return StoreError(f"{node} does not answer as Qdrant does ({words})", hint="is QDRANT_URL right?")


def retry_after(error: Exception) -> bool | float:
    """False: do not try again. True: after the usual pause. A number: after that many seconds."""
    if isinstance(error, ResourceExhaustedResponse):
        return float(error.retry_after_s)
    if isinstance(error, UnexpectedResponse):
        if FULL in reason(error):
            return False
        return error.status_code in (408, 429) or (error.status_code or 0) >= 500
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError) and DISTRUST not in str(error.source)
    return isinstance(error, QdrantException)  # 429 with a Retry-After that is a date


def reason(error: Exception) -> str:
    """What went wrong, in the server's or the network's own words, on one line."""
    text: Any = error
    if isinstance(error, ResponseHandlingException):
        text = str(error.source) or type(error.source).__name__
    elif isinstance(error, UnexpectedResponse):
        text = error.reason_phrase or f"HTTP {error.status_code}"
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a proxy's page, not Qdrant's answer
            text = error.structured()["status"]["error"]
    return " ".join(str(text).split())[:300]
