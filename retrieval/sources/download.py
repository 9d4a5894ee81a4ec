"""Download one file from the first mirror that serves all of it: resumable, checked, limited in size and time."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import SourceError
from retrieval.util.deadline import enforce_time_limits, limit_time
from retrieval.util.files import RERUN, write_error

if TYPE_CHECKING:
    import httpx

ReportDownload = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes received, and its size (None if unknown)."""

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""How long to wait for the next bytes."""
TOTAL_SECONDS = 900.0
"""Time limit for one file, over all mirrors."""
MAX_DOWNLOAD_BYTES = 64 * 2**20
"""The largest known file has 26 MB."""
ROUNDS = 2
"""How often each mirror is tried, so that an interrupted download is resumed."""


class _MirrorError(Exception):
    """A mirror does not serve the file; the next one is tried."""


def download(urls: Sequence[str], target: Path, md5: str, progress: ReportDownload | None = None) -> None:
    """Download the file to `target`, where it appears only after its checksum has been verified.

    An interrupted download stays in `<target>.part` and is resumed at the next attempt. Raises SourceError with the
    last failure of each mirror.
    """
    import httpx
    from filelock import FileLock, Timeout

    part = target.with_name(f"{target.name}.part")
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    end = time.monotonic() + TOTAL_SECONDS
    failures: dict[str, str] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(target.with_name(f"{target.name}.lock"), timeout=TOTAL_SECONDS),
            enforce_time_limits(httpx.Client(timeout=timeout, follow_redirects=True)) as client,
        ):
            if target.is_file():  # another process downloaded it meanwhile
                return
            for url in [*urls] * ROUNDS:
                try:
                    _fetch(client, url, part, end, progress)
                    _check_md5(part, md5)
                except (httpx.HTTPError, _MirrorError) as error:
                    failures[url] = " ".join(str(error).split()) or type(error).__name__
                else:
                    part.replace(target)
                    return
    except Timeout as error:
        raise SourceError(f"{target}: another process has held its lock for {TOTAL_SECONDS:.0f} s") from error
    except OSError as error:
        raise write_error(target.parent, error, SourceError, hint=RERUN) from error
    raise SourceError("; ".join(f"{httpx.URL(url).host}: {reason}" for url, reason in failures.items()))


def _fetch(client: "httpx.Client", url: str, part: Path, end: float, progress: ReportDownload | None) -> None:
    """Download the rest of `part`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    _check_time(end)
    with limit_time(end - time.monotonic()), client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:  # there is nothing beyond these bytes; the checksum is verified next
            return
        have = _check_response(response, have)
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        with part.open("ab" if have else "wb") as file:
            for chunk in response.iter_raw():
                have += file.write(chunk)
                if progress:
                    progress(part.stem, have, total)
                _check_time(end)
                if have > MAX_DOWNLOAD_BYTES:
                    break
    if have > MAX_DOWNLOAD_BYTES:
        part.unlink()
        raise _MirrorError(f"sends more than {MAX_DOWNLOAD_BYTES // 2**20} MiB")


def _check_response(response: "httpx.Response", have: int) -> int:
    """The offset at which the body starts: 0, or `have` as requested; raises _MirrorError for other responses."""
    if response.status_code == 200:
        return 0
    if response.status_code != 206:
        raise _MirrorError(f"HTTP {response.status_code}")
    content_range = response.headers.get("Content-Range", "")
    if not re.match(rf"bytes {have}-", content_range):
        raise _MirrorError(f"asked for bytes from {have}, got {content_range or 'no Content-Range'!r}")
    return have


def _check_time(end: float) -> None:
    if time.monotonic() > end:
        raise _MirrorError(f"not done after {TOTAL_SECONDS:.0f} s; rerun the command to resume")


def _check_md5(part: Path, md5: str) -> None:
    """Raise _MirrorError for a wrong checksum, and remove the file: it could never be completed."""
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        part.unlink()
        raise _MirrorError(f"MD5 {found}, but {md5} was published")
