"""A new MLflow database: whole, whenever the process that makes it is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from lora_lab.tracking.target import choose_target

pytest.importorskip("mlflow")

KILLED = """
import os, sys
from pathlib import Path
import sqlalchemy
from lora_lab.tracking.mlflow_writer import MlflowWriter
from lora_lab.tracking.target import choose_target

left = int(sys.argv[1])

@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "after_cursor_execute")
def count(connection, cursor, statement, *rest):
    global left
    left -= statement.lstrip().startswith(("CREATE", "ALTER", "DROP"))
    if left == 0:
        os._exit(9)

MlflowWriter(choose_target(None, Path.cwd()))
"""


@pytest.mark.filterwarnings("ignore")  # mlflow's imports warn of themselves
@pytest.mark.parametrize("statements", [1, 90])
def test_a_database_whose_making_was_cut_off(statements: int, tmp_path: Path) -> None:
    """After some statements of the migrations the process dies; the next one opens the database, nothing is left."""
    from lora_lab.tracking.mlflow_writer import MlflowWriter

    done = subprocess.run([sys.executable, "-c", KILLED, str(statements)], cwd=tmp_path, check=False)
    assert done.returncode == 9
    assert not (tmp_path / "mlflow.db").exists()
    MlflowWriter(choose_target(None, tmp_path)).experiment("one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
