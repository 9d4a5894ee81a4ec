"""What commands on the embedded engine must not import: a search then takes a third of the time of these imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "qdrant_client", "grpc", "pyarrow", "jaxtyping"}
COMMAND = """
import json, sys
from retrieval.cli import main
try:
    main()
finally:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "given",
    [
        ("search", "QUERY"),
        ("search", "QUERY", "--where", "label=7", "--json"),
        ("search", "--like", "QUERY", "--output", "csv"),
        ("search", "--stored", "STORED", "--json"),
        ("duplicates", "--max-distance", "0.5"),
        ("duplicates", "--json"),
        ("status",),
        ("jobs", "--json"),
    ],
    ids=" ".join,
)
def test_commands_on_the_embedded_engine_start_light(given: tuple[str, ...], home: Path, pictures: Path) -> None:
    query = min(pictures.rglob("*.png"))
    names = {"QUERY": str(query), "STORED": f"pictures/{query.relative_to(pictures)}"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *(names.get(word, word) for word in given)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "RETRIEVAL_HOME": str(home)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heavy = HEAVY if given[0] == "duplicates" else HEAVY | {"rich"}  # it has a progress bar
    assert heavy & set(json.loads(done.stderr.splitlines()[-1])) == set(), "import these inside what needs them"
    if given[0] == "search":
        assert done.stdout.count(".png") >= 5
