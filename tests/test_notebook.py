"""The notebook: stripped of its outputs, and every cell runs; without a model, it says so in one line."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FILE = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
SMALL = "IMAGES, EPOCHS = 60, 1"
"""For the test: what it takes is the compilation."""


@pytest.fixture
def cells() -> list[Any]:
    return [cell for cell in nbformat.read(FILE, as_version=4).cells if cell.cell_type == "code"]


def test_outputs_are_stripped(cells: list[Any]) -> None:
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}


@pytest.mark.long
def test_the_notebook_runs(cells: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    assert cells[0].source.startswith("IMAGES, EPOCHS = ")
    cells[0].source = SMALL
    book = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(book, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    shown = ""
    with client.setup_kernel():
        for place, cell in enumerate(cells):
            if "train_and_save" in cell.source:
                (line,) = error_of(client, encoding(cells))
                assert line.startswith("ModelError: no model in ")
                assert "retrieval train SOURCE" in line
            client.execute_cell(cell, place)
            shown += str(cell.outputs)
    assert "'encoded': 60" in shown
    assert shown.count("data:image/") == 6, "the query and its hits"
    assert "raw pixels" in shown
    assert "image/png" in str(cells[-2].outputs), "the map"


def encoding(cells: list[Any]) -> Any:
    """The cell that wants a model."""
    (cell,) = (cell for cell in cells if "load_model" in cell.source)
    return cell.copy()


def error_of(client: NotebookClient, cell: Any) -> list[str]:
    """What a cell that fails shows."""
    with pytest.raises(CellExecutionError):
        client.execute_cell(cell, 0)
    lines: list[str] = cell.outputs[-1].traceback
    return lines
