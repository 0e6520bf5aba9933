"""The notebook runs from top to bottom."""

import pytest
from repository import ROOT

nbformat = pytest.importorskip(
    "nbformat", reason="running the notebook needs nbclient (requirements-dev.txt)"
)
nbclient = pytest.importorskip(
    "nbclient", reason="running the notebook needs nbclient (requirements-dev.txt)"
)

NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
FRAMES, RESOLUTION = 9, 112  # takes a tenth of the notebook's own time


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell) -> str:
    return "".join(
        output.text
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )


def pictures(cell) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_notebook_holds_no_outputs():
    """Outputs would become outdated, and would make every change of the notebook unreadable."""
    for cell in code_cells(nbformat.read(NOTEBOOK, as_version=4)):
        assert cell.outputs == [] and cell.execution_count is None


def test_notebook_runs_from_top_to_bottom():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [
        cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])
    ]
    parameters.source += f"\nframe_count, resolution = {FRAMES}, {RESOLUTION}"
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    ).execute()
    text = "".join(map(printed, code_cells(notebook)))
    assert f"{FRAMES} frames of (240, 432, 3) with objects [1, 2, 3]" in text
    assert (
        "frame 2: objects (1, 2);" in text
        and "frame 3: objects (1, 2, 3);" in text
        and "frame 6: objects (1, 3);" in text
    )
    assert sum(map(pictures, code_cells(notebook))) == 9
    errors = [
        output.text
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not errors, "".join(errors)
