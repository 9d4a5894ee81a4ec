"""The lock files, and how scripts/setup decides; that it installs is shown by every run of these tests."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
APART = ("bench", "interop", "release", "torch")
"""Each has an environment of its own, and a group of dependencies and a lock of this name."""
LOCKS = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-uv.txt",
    *(f"requirements-{name}.txt" for name in APART),
)


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def pins(name: str) -> dict[str, str]:
    """Package → version; fails when a package has two, as it would with other versions for other Pythons."""
    found = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==(\S+)", text(name), re.MULTILINE)
    assert len(dict(found)) == len(found), f"{name} locks two versions of one package"
    return dict(found)


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_hashes(name: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", text(name))[1:]
    assert len(entries) == len(pins(name)) > 0
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_address_index_or_path(name: str) -> None:
    assert re.findall(r"(?m)https?:|file:|^-.*|--(?:extra-)?index\S*|--find-links| @ |(?<![\w.])/\S+", text(name)) == []


def test_running_and_developing_use_the_same_versions() -> None:
    running, developing = pins("requirements.txt"), pins("requirements-dev.txt")
    assert running.items() <= developing.items()


@pytest.mark.parametrize("lock", [name for name in LOCKS if name != "requirements-uv.txt"])
def test_the_locks_follow_pyproject(lock: str) -> None:
    asked = tomllib.loads(text("pyproject.toml"))
    wanted = [*asked["project"]["dependencies"], *asked["dependency-groups"]["build"]]
    if lock == "requirements-dev.txt":
        wanted += [
            entry
            for entry in (asked["dependency-groups"]["dev"] + asked["dependency-groups"]["docs"])
            if isinstance(entry, str)
        ]
        extras = asked["project"]["optional-dependencies"]
        (every,) = (Requirement(entry) for entry in extras.pop("all"))
        assert (every.name, every.extras) == (asked["project"]["name"], extras.keys())
        entries = [entry for extra in extras.values() for entry in extra]
        wanted += [entry for entry in entries if Requirement(entry).name != every.name]
    if (name := lock.removeprefix("requirements-").removesuffix(".txt")) in APART:
        wanted = asked["dependency-groups"][name]
    locked = pins(lock)
    stale = [
        f"{entry} (locked: {locked.get(need.name)})"
        for entry in wanted
        if (need := Requirement(entry)).name not in locked or not need.specifier.contains(locked[need.name])
    ]
    assert stale == [], "run scripts/lock"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what scripts/setup looks at, in a folder whose name holds a space."""
    top = tmp_path / "my checkout"
    (top / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", *LOCKS, "scripts/setup", "scripts/toolchain.sh"):
        shutil.copy(ROOT / name, top / name)
    return top


def setup(checkout: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [checkout / "scripts" / "setup", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def make_complete(checkout: Path, mode: str) -> None:
    """What a finished set-up leaves behind, without the packages."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    parts = [(checkout / name).read_text("utf-8") for name in ("pyproject.toml", *LOCKS[:2])]
    (checkout / ".venv" / "made-from").write_text(f"{checkout}\n{mode}\n{''.join(parts)}", "utf-8")


@pytest.mark.parametrize(("made", "asked"), [("run", []), ("dev", ["dev"]), ("dev", [])])
def test_what_is_complete_is_left_alone(checkout: Path, made: str, asked: list[str]) -> None:
    make_complete(checkout, made)
    done = setup(checkout, *asked, PYTHON="no-such-python")  # which would fail if it were looked for
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("change", ["lock", "mode", "unfinished", "python"])
def test_what_is_out_of_date_is_not(checkout: Path, change: str) -> None:
    make_complete(checkout, "run")
    if change == "lock":
        (checkout / "requirements.txt").write_text("", "utf-8")
    elif change == "unfinished":
        (checkout / ".venv" / "made-from").write_text("unfinished\n", "utf-8")
    elif change == "python":
        (checkout / ".venv" / "bin" / "python").unlink()
    done = setup(checkout, *(["dev"] if change == "mode" else []), PYTHON="no-such-python")
    assert done.returncode == 1
    assert all(part in done.stderr for part in ("3.11", "3.13", "no-such-python"))


def test_an_unknown_argument_is_a_usage_error(checkout: Path) -> None:
    done = setup(checkout, "all")
    assert (done.returncode, done.stderr) == (
        2,
        "setup: unknown argument 'all'; usage: scripts/setup [dev|bench|interop|release|torch]\n",
    )
