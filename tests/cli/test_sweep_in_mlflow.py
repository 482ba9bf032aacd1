"""A sweep as MLflow holds and shows it: asked by its own client, and looked at with a browser."""

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from click.testing import CliRunner
from numpy import zeros
from PIL import Image

from lora_lab.cli import sync
from lora_lab.cli.sweep import SweepOptions, run_sweep
from lora_lab.failure import Failure
from lora_lab.lint import Finding
from lora_lab.sweep import judge
from lora_lab.sweep.roles import Progress, RunToTrain, TrainResult
from lora_lab.tracking.events import DatasetUsed, LoraModel, Metrics, SamplePicture
from lora_lab.tracking.server import Server, experiments, free_port, start_server
from lora_lab.tracking.target import Target, choose_target
from lora_lab.tracking.view import runs_address

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's imports warn of themselves

GRID = """\
name: ranks
base: base.json
parameters:
  net_dim: [4, 8, 16]
  unet_lr: [1e-3, 1e-4]
"""
BEST = "net_dim=4 unet_lr=0.0001"


@dataclass(frozen=True)
class Result:
    """A training's result."""

    lora: Path
    metrics: Mapping[str, float]
    steps: int = 20
    seconds: float = 1.0


def train(runs: Sequence[RunToTrain], progress: Callable[[Progress], None]) -> Sequence[TrainResult | Failure]:
    """Pretend to train, with everything that a training tells: small ranks and low rates are best."""
    return [_train(run) for run in runs]


def _train(run: RunToTrain) -> Result:
    rank, rate = run.config.net_dim, run.config.unet_lr or 1.0
    run.record(DatasetUsed(name="data", digest="ab" * 16, source="data", profile={"buckets": {"64x64": 3}}))
    for step in range(0, 21, 5):
        values = {"loss": rank / (step + 1), "val_loss": rank * rate / (step + 1)}
        run.record(Metrics(step=step, values=values, time_ms=1_700_000_000_000 + step))
        for number in range(2):
            path = run.folder / f"{step}_{number}.png"
            Image.new("RGB", (64, 64), (min(rank * 12, 255), number * 200, step * 10)).save(path)
            run.record(SamplePicture(step=step, key=f"sample_{number:02d}", path=path))
    lora = run.folder / "l.safetensors"
    safetensors.numpy.save_file({"lora_unet_x.alpha": zeros(1)}, lora)
    run.record(LoraModel(path=lora, step=20, base_model=str(run.config.base_model), facts={"net_dim": str(rank)}))
    return Result(lora, {"loss": rank / 21, "val_loss": rank * rate / 21})


def _lint(shared: object, points: Sequence[object], *rest: object) -> list[tuple[Finding, ...]]:
    return [(Finding("LL399", "sixteen", "warning", "ranks are even", ("net_dim",), None, "take 17"),) for _ in points]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a sweep of six runs was trained, tracked in a database, its best run registered."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "data" / "2_cat").mkdir(parents=True)
    (folder / "data" / "2_cat" / "a.png").write_bytes(b"picture")
    (folder / "base").mkdir()
    base = {"base_model": "base", "img_folder": "data", "output_folder": "out"}
    (folder / "base.json").write_text(json.dumps(base))
    (folder / "grid.yaml").write_text(GRID)
    environment = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "lint_points", _lint)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        assert run_sweep(folder / "grid.yaml", SweepOptions(train=train, register="cats")) == 0
        yield folder
    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger("mlflow").setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def target(project: Path) -> Target:
    """Where the sweep is tracked."""
    return choose_target(None, project / "lora-lab-runs")


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
        run_sweep(project / "grid.yaml", SweepOptions(train=train, register="a/b"))
    with pytest.raises(Failure, match="--no-tracking turns it off"):
        run_sweep(project / "grid.yaml", SweepOptions(train=train, register="cats", tracking=False))


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def server(target: Target) -> Iterator[Server]:
    """MLflow's server over the sweep, as `lora-lab ui` starts it."""
    started = start_server(target, free_port(5400))
    yield started
    started.stop()


def page(address: str, folder: Path, awaited: str) -> str:
    """Return what a headless browser makes of an address; looked at again where a busy machine has not got that far."""
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        f"--user-data-dir={folder}",
    ]
    seen = ""
    for milliseconds in (30_000, 120_000, 480_000):  # of the page's own clock, which waits for the server
        looking = [f"--virtual-time-budget={milliseconds}", "--window-size=1800,3400", "--dump-dom", address]
        seen = subprocess.run([*command, *looking], capture_output=True, text=True, check=True).stdout
        if awaited in seen:
            break
    return seen


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_landing_table_shows_the_runs_best_first(server: Server, tmp_path: Path) -> None:
    """The page that `lora-lab ui` opens has the runs themselves, the varied parameters and the metric, best first."""
    (found,) = (one for one in experiments(server.address) if one.name == "ranks")
    seen = page(runs_address(server.address, found.id), tmp_path, f">{BEST}<")
    names = [f"net_dim={rank} unet_lr={rate}" for rate in ("0.0001", "0.001") for rank in (4, 8, 16)]
    places = [seen.find(f">{name}<") for name in names]
    assert -1 not in places
    assert places == sorted(places), "best first"
    assert places[0] == seen.find(f">{BEST}<")
    for column in ("net_dim", "unet_lr", "val_loss"):
        assert f">{column}<" in seen


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_the_charts_show_pictures_curves_and_parallel_coordinates(server: Server, tmp_path: Path) -> None:
    """One click further: the pictures of all runs without their parameters written over, the curves, the axes."""
    (found,) = (one for one in experiments(server.address) if one.name == "ranks")
    seen = page(runs_address(server.address, found.id, chart=True), tmp_path, "path=images")
    for section in ("Pictures", "Curves", "Parameters and result"):
        assert f">{section} (" in seen or f">{section}<" in seen
    shown = [part for part in seen.split("<img ")[1:] if "sample_0" in part.partition(">")[0]]
    assert len(shown) == 6 * 2
    assert all("step%2B20%2B" in part for part in shown), "the last pictures"
    assert "img_folder=" not in seen
