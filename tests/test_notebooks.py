"""Notebooks run from an empty folder, in a kernel of their own, with the real networks; they are kept without outputs."""

import base64
import io
import os
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from tools import structure

ROOT = Path(structure.__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SECONDS_PER_CELL = 600
"""Only against one that hangs."""


class ThisInterpreter(AsyncKernelManager):
    """Kernels of the interpreter that runs the tests, whatever kernels are installed for the user."""

    @property
    def kernel_spec(self):
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="tests", language="python")


def execute(notebook, folder):
    """Execute a notebook's cells in `folder`; outputs are in the notebook then.

    Raises:
      CellExecutionError: of the first cell that fails.
    """
    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisInterpreter,
        timeout=SECONDS_PER_CELL,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()


def pictures(cell):
    """The pictures that a cell shows."""
    return [output["data"]["image/png"] for output in cell.get("outputs", ()) if "image/png" in output.get("data", ())]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder; the repository is found from there, settings of the user's are not."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_ends_in_a_picture(path, folder):
    notebook = nbformat.read(path, as_version=4)
    execute(notebook, folder)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.get("name") == "stderr" for cell in code for output in cell.outputs), "something is warned of"
    # The cells that are to show a picture are those that end in one, or draw one.
    showing = [cell for cell in code if cell.source.split("\n")[-1].startswith(("Image.", "result", "axes.legend"))]
    assert showing and all(len(pictures(cell)) == 1 for cell in showing)
    (last,) = pictures(showing[-1])
    assert np.ptp(np.asarray(Image.open(io.BytesIO(base64.b64decode(last))).convert("L"))) > 100, "it is nearly empty"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_there_are_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


def test_a_notebook_that_breaks_is_told(folder):
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import jinv\njinv.nothing")])
    with pytest.raises(CellExecutionError, match="nothing"):
        execute(broken, folder)
