"""A sweep as MLflow holds and shows it: asked by its own client, and looked at with a browser."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from click.testing import CliRunner
from PIL import Image

from lora_lab.cli import sync
from lora_lab.cli.sweep import SweepOptions, run_sweep
from lora_lab.failure import Failure
from lora_lab.tracking.target import Target

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's imports warn of themselves

BEST = "net_dim=4 unet_lr=0.0001"


@pytest.fixture(scope="module")
def project(ranks_project: Path) -> Path:
    """The folder of a sweep of six runs."""
    return ranks_project


@pytest.fixture(scope="module")
def target(ranks_target: Target) -> Target:
    """Where the sweep is tracked."""
    return ranks_target


@pytest.fixture(scope="module")
def client(target: Target) -> Any:
    """MLflow's own client."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=target.uri)


def runs_of(client: Any, experiment: str) -> dict[str, Any]:
    """Return an experiment's runs by their names."""
    found = client.get_experiment_by_name(experiment)
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id])}


def files_of(client: Any, run: Any, folder: str | None = None) -> set[str]:
    """Return the names of a run's artifacts."""
    return {Path(file.path).name for file in client.list_artifacts(run.info.run_id, folder)}


def test_the_sweep_has_its_pictures_figures_and_summary(client: Any) -> None:
    """The parent has the XY grids, the curves and what mattered as pictures, and a note that names the best run."""
    parent = runs_of(client, "ranks")["ranks"]
    assert files_of(client, parent, "figures") == {
        "xy_grid_sample_00.png",
        "xy_grid_sample_01.png",
        "val_loss.png",
        "loss.png",
        "importance.png",
    }
    note = parent.data.tags["mlflow.note.content"]
    assert f"Best: **{BEST} (val_loss" in note
    assert "What mattered for val_loss: unet_lr" in note
    assert note.count("finished") == 6


def test_the_grid_puts_each_run_where_its_values_say(project: Path) -> None:
    """Columns are the rates, rows the ranks, small to large, as the pictures' own colours tell."""
    sheet = Image.open(project / "out/ranks/figures/xy_grid_sample_00.png").convert("RGB")
    colours = {rank: (rank * 12, 0, 200) for rank in (4, 8, 16)}
    places = {rank: _places(sheet, colour) for rank, colour in colours.items()}
    assert {len(found) for found in places.values()} == {2 * 64 * 64}
    tops = [min(y for _, y in places[rank]) for rank in (4, 8, 16)]
    assert tops == sorted(tops)
    assert len(set(tops)) == 3


def _places(sheet: Image.Image, colour: tuple[int, int, int]) -> list[tuple[int, int]]:
    width, height = sheet.size
    return [(x, y) for x in range(width) for y in range(height) if sheet.getpixel((x, y)) == colour]


def test_a_run_has_its_contact_sheet_findings_and_summary(client: Any) -> None:
    """A child has a sheet of its pictures, what lint said as file and tags, and a note with values and results."""
    run = runs_of(client, "ranks")[BEST]
    assert {"contact_sheet.png", "lint.json", "config.json"} <= files_of(client, run)
    assert (run.data.tags["lora_lab.lint.warnings"], run.data.tags["lora_lab.lint.codes"]) == ("1", "LL399")
    note = run.data.tags["mlflow.note.content"]
    assert "| net_dim | 4 |" in note
    assert "| val_loss | 1.9048e-05 |" in note
    assert "LL399 warning: ranks are even" in note
    (used,) = run.inputs.dataset_inputs
    assert json.loads(used.dataset.profile) == {"buckets": {"64x64": 3}}


def test_the_best_lora_is_a_registered_model(client: Any, target: Target, tmp_path: Path) -> None:
    """Every run has a model; the best is version 1 with the alias `best`; MLflow's own flavour opens it; no pickles."""
    import mlflow
    from mlflow.artifacts import download_artifacts

    experiment = client.get_experiment_by_name("ranks")
    models = client.search_logged_models([experiment.experiment_id])
    runs = runs_of(client, "ranks")
    assert {model.source_run_id for model in models} == {
        run.info.run_id for name, run in runs.items() if name != "ranks"
    }
    assert {str(model.status) for model in models} == {"READY"}
    version = client.get_model_version_by_alias("cats", "best")
    assert version.run_id == runs[BEST].info.run_id
    assert (version.version, version.tags["lora_lab.net_dim"], version.tags["lora_lab.sweep"]) in {
        ("1", "4", "ranks"),
        (1, "4", "ranks"),
    }
    folder = Path(download_artifacts(artifact_uri=version.source, dst_path=str(tmp_path), tracking_uri=target.uri))
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "pytorch_lora_weights.safetensors"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]
    opened = mlflow.diffusers.load_model(str(folder))
    assert opened.base_model.endswith("base")
    assert list(safetensors.numpy.load_file(next(Path(opened.adapter_path).iterdir()))) == ["lora_unet_x.alpha"]
    assert mlflow.models.Model.load(str(folder)).signature.inputs.input_names() == ["prompt"]


def _sync(project: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(sync.command, [str(project / "out"), *words], standalone_mode=False)
    assert result.exception is None, result.exception
    return int(result.return_value), result.output


def test_sync_brings_everything_to_another_tracker_once(project: Path, tmp_path: Path, client: Any) -> None:
    """A tracker that has nothing gets all runs with all they have; called again, nothing changes."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/other.db"
    code, said = _sync(project, "--tracking-uri", uri)
    assert (code, "7 runs below" in said, "7 with something" in said) == (0, True, True)
    other = MlflowClient(tracking_uri=uri)
    here, there = runs_of(client, "ranks"), runs_of(other, "ranks")
    assert {name: run.data.metrics for name, run in there.items()} == {n: run.data.metrics for n, run in here.items()}
    assert {name: run.data.params for name, run in there.items()} == {n: run.data.params for n, run in here.items()}
    pictures = other.list_artifacts(there[BEST].info.run_id, "images")
    assert len(pictures) == 2 * 10, "each picture and its smaller copy"
    assert other.get_model_version_by_alias("cats", "best").run_id == there[BEST].info.run_id
    code, said = _sync(project, "--tracking-uri", uri)
    assert (code, "0 with something" in said, "MLflow has everything" in said) == (0, True, True)
    assert len(runs_of(other, "ranks")) == 7
    assert len(other.list_artifacts(there[BEST].info.run_id, "images")) == 20


def test_sync_of_a_folder_without_runs_is_a_failure(tmp_path: Path) -> None:
    """Nothing to send is said, and no database is made."""
    result = CliRunner().invoke(sync.command, [str(tmp_path)], standalone_mode=False)
    assert isinstance(result.exception, Failure)
    assert list(tmp_path.iterdir()) == []


def test_a_model_name_that_the_registry_refuses_is_told_before_training(project: Path) -> None:
    """Hours of training are not spent for a name that can't be registered, or without a registry."""
    with pytest.raises(Failure, match="cannot name a registered model"):
        run_sweep(project / "grid.yaml", SweepOptions(register="a/b"))
    with pytest.raises(Failure, match="--no-tracking turns it off"):
        run_sweep(project / "grid.yaml", SweepOptions(register="cats", tracking=False))
