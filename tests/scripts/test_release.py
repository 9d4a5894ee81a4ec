"""What is released: the files in the wheel, and the workflow that publishes them."""

import email
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.releases.test_releases import DATA_FILTER

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it alone."""
    folder = tmp_path_factory.mktemp("built")
    build([ROOT, folder], "sdist")
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = DATA_FILTER
        archive.extractall(folder)
    build([sdist.with_name(sdist.name.removesuffix(".tar.gz")), folder], "wheel")
    return folder


def build(places: list[Path], target: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(places[1])]
    subprocess.run(command, cwd=places[0], capture_output=True, timeout=60, check=True)


def test_the_wheel_holds_every_file_of_the_package(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    package = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "retrieval").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert {name for name in names if ".dist-info/" not in name} == package
    told = email.message_from_string(metadata)
    assert (told["Name"], told["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert told["License-Expression"] == PROJECT["license"]
    assert told.get_all("License-File") == PROJECT["license-files"]


def test_the_release_itself_runs_without_a_right_it_does_not_need() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
    jobs = workflow["jobs"]
    assert workflow["permissions"] == {"contents": "read"}
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert [step["run"] for step in jobs["build"]["steps"] if "run" in step][-1] == "scripts/release"
    assert all("checkout" not in step.get("uses", "") for step in jobs["publish"]["steps"])
    assert all(job["timeout-minutes"] <= 60 for job in jobs.values())
