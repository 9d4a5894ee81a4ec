"""The map of the package, held to: imports point downwards, each vendor has one room, modules stay small."""

import ast
import graphlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "retrieval"

ROWS: tuple[frozenset[str], ...] = tuple(
    frozenset(row.split())
    for row in (
        "__main__",
        "cli web",  # talk to people
        "api async_api",  # talk to programs
        "reindex evaluate duplicates gallery ops demo",  # whole jobs
        "ingest train",  # one pass over the images
        "search",
        "model",
        "store sources",  # where embeddings and images lie
        "images util config",
        "schema",  # plain values
        "errors",
        PACKAGE,  # the package itself: its version, and a door to `api` that opens when it is asked for
    )
)
"""Top to bottom. A room is a module or a folder of modules; it imports from its own row or from below."""

VENDORS = {
    "qdrant_client": {"store"},
    "qdrant_edge": {"store"},
    "PIL": {"images"},
    "pi_heif": {"images"},
    "ray": {"ingest"},
    "jaxtyping": {"schema", "model", "train", "ingest", "evaluate", "reindex", "cli"},  # others: schema/arrays.py
    **{vendor: {"web"} for vendor in ("fastapi", "starlette", "uvicorn", "limits", "mcp", "mcp_types")},
    **{vendor: {"model", "train"} for vendor in ("jax", "flax", "optax", "orbax")},
}
UNSAFE = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve"}
HEAVY = {"jax", "numpy", "PIL", "pydantic", "qdrant_client", "qdrant_edge"}
MOST_LINES = 400


class Import(NamedTuple):
    file: Path
    line: int
    room: str
    target: str
    """Dotted name of what is imported, `retrieval.store.base` or `jax.numpy`."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def target_room(self) -> str | None:
        """The room of our own that is imported; None for somebody else's package."""
        return room_of(self.target) if self.target.split(".")[0] == PACKAGE else None


def room_of(module: str) -> str:
    """`retrieval.store.base` is in the room `store`."""
    return module.split(".")[1] if "." in module else module


def row_of(room: str) -> int:
    """0 is the top row; raises LookupError for a room that is not on the map."""
    for number, row in enumerate(ROWS):
        if room in row:
            return number
    raise LookupError(f"{PACKAGE}/{room} is not on the map: give it a row in ROWS")


def imports_in(file: Path, text: str, module: str, *, package: bool) -> Iterator[Import]:
    """Every import of a module, those inside functions and `if TYPE_CHECKING` too."""
    parts = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from retrieval import config` imports the room `config`, `from retrieval import __version__` none
            names = (f"{base}.{alias.name}" for alias in node.names)
            targets = [name if is_module(name) else base for name in names]
        else:
            continue
        yield from (Import(file, node.lineno, room_of(module), target) for target in targets)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return name.split(".")[0] == PACKAGE and (path.is_dir() or path.with_suffix(".py").is_file())


def modules() -> dict[Path, str]:
    """File, relative to the repository → dotted name."""
    files = sorted(file.relative_to(ROOT) for file in (ROOT / PACKAGE).rglob("*.py"))
    return {file: ".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}


def all_imports() -> list[Import]:
    return [
        found
        for file, module in modules().items()
        for found in imports_in(file, (ROOT / file).read_text("utf-8"), module, package=file.name == "__init__.py")
    ]


def wrong_arrows(imports: list[Import]) -> list[str]:
    return [
        f"{found.where}: {found.room} -> {found.target_room} points up; move what is shared to a lower row"
        for found in imports
        if found.target_room and found.room != PACKAGE and row_of(found.target_room) < row_of(found.room)
    ]


def strangers(imports: list[Import]) -> list[str]:
    return [
        f"{found.where}: {found.room} imports {vendor}, which only {', '.join(sorted(VENDORS[vendor]))} may"
        for found in imports
        if found.room not in VENDORS.get(vendor := found.target.split(".")[0], {found.room})
    ]


def test_every_arrow_points_down() -> None:
    assert wrong_arrows(all_imports()) == []


def test_rooms_of_one_row_do_not_go_round_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for found in all_imports():
        if found.target_room and found.target_room != found.room:
            graph.setdefault(found.room, set()).add(found.target_room)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_each_vendor_has_one_room() -> None:
    assert strangers(all_imports()) == []


def test_the_engines_do_not_know_each_other() -> None:
    foreign = {
        "qdrant": (f"{PACKAGE}.store.edge", "qdrant_edge"),
        "edge": (f"{PACKAGE}.store.qdrant", "qdrant_client"),
    }
    mixed = [
        f"{found.where}: {found.target}"
        for found in all_imports()
        for engine, others in foreign.items()
        if Path(PACKAGE, "store", engine) in found.file.parents and found.target.startswith(others)
    ]
    assert mixed == []
    shared = [found for found in all_imports() if found.file.parent == Path(PACKAGE, "store")]
    assert [found.where for found in shared if found.target.startswith(("qdrant_client", "qdrant_edge"))] == []


def test_nothing_unpickles() -> None:
    assert [f"{i.where}: {i.target}" for i in all_imports() if i.target.split(".")[0] in UNSAFE] == []


@pytest.mark.parametrize("file", modules(), ids=str)
def test_a_module_fits_in_the_head(file: Path) -> None:
    lines = len((ROOT / file).read_text("utf-8").splitlines())
    assert lines <= MOST_LINES, f"{file}: {lines} lines, at most {MOST_LINES}; split it by job"


def test_the_command_line_starts_light() -> None:
    code = "import json, sys, retrieval.cli; retrieval.cli.make_app(); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(json.loads(done.stdout)) & HEAVY == set(), "import these inside the function that needs them"


PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
DRAWINGS = re.findall(r"```mermaid\n(.+?)```", PAGE, re.DOTALL)


def test_the_drawing_shows_every_room_and_only_real_imports() -> None:
    real = {(found.room, found.target_room) for found in all_imports() if found.target_room != found.room}
    drawn = set()
    for line in DRAWINGS[0].splitlines()[1:]:
        start, _, ends = line.strip().partition(" --> ")
        drawn |= {(start, end) for end in ends.split(" & ")}
    assert drawn - real == set()
    rooms = frozenset().union(*ROWS) - {"__main__", "web", "duplicates", PACKAGE}
    assert rooms - {room for arrow in drawn for room in arrow} == set()


def test_the_images_way_leads_through_real_modules() -> None:
    lines = [line.split() for line in DRAWINGS[1].splitlines()[1:]]
    names = {words[end] for words in lines for end in (0, -1)}
    assert len(names) > 5
    assert [name for name in names if not is_module(f"{PACKAGE}.{name}")] == []


def test_every_place_on_the_page_is_there() -> None:
    places = re.findall(r"`((?:retrieval|store|ingest|reindex)/[\w/.]*)`", PAGE)
    assert len(places) > 10
    missing = [place for place in places if not any((root / place).exists() for root in (ROOT, ROOT / PACKAGE))]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "text", "complaint"),
    [
        ("retrieval.store.base", "from retrieval.ingest import x", "a.py:1: store -> ingest points up"),
        ("retrieval.store.base", "def f():\n    from .. import search", "a.py:2: store -> search points up"),
        ("retrieval.schema.records", "import retrieval.cli.options", "a.py:1: schema -> cli points up"),
        ("retrieval.ingest", "import jax.numpy as jnp", "a.py:1: ingest imports jax, which only"),
        ("retrieval.search", "from PIL import Image", "a.py:1: search imports PIL, which only images may"),
    ],
)
def test_the_check_itself_sees_a_wrong_import(module: str, text: str, complaint: str) -> None:
    found = list(imports_in(Path("a.py"), text, module, package=False))
    assert [message[: len(complaint)] for message in wrong_arrows(found) + strangers(found)] == [complaint]
