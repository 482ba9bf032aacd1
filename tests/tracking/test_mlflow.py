"""What MLflow itself says it holds, asked by a client that knows nothing of this project."""

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_lab.config import PARAMETERS, check
from lora_lab.failure import Failure
from lora_lab.tracking.describe import run_started
from lora_lab.tracking.events import Artifact, DatasetUsed, Metrics, RunEnded, RunStarted, SamplePicture
from lora_lab.tracking.recorder import Tracker, open_recorder
from lora_lab.tracking.server import experiments, free_port, start_server
from lora_lab.tracking.ship import Shipper
from lora_lab.tracking.target import Target, choose_target
from lora_lab.tracking.view import VIEW_TAG, View, runs_address, view_state

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's imports warn of themselves
BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Log a sweep of two runs and a single run into a database; mlflow's import is paid for once."""
    root = tmp_path_factory.mktemp("project")
    environment = dict(os.environ)
    target = choose_target(f"sqlite:///{root}/lora-lab-runs/mlflow.db")
    warnings: list[str] = []
    with Tracker(target, "rank", warnings.append, Shipper) as tracker:
        _log_sweep(tracker, root / "rank")
    _log_single(target, root / "single", warnings)
    assert warnings == []
    yield target
    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger("mlflow").setLevel(logging.NOTSET)


def _log_sweep(tracker: Tracker, folder: Path) -> None:
    parent = tracker.recorder(folder)
    tags = {"lora_lab.run": "sweep", "lora_lab.axes": "net_dim,unet_lr", "lora_lab.metric": "val_loss"}
    parent(RunStarted(name="rank", params={}, tags=tags, note="two runs"))
    (folder / "grid.yaml").write_text("base: x")
    parent(Artifact(path=folder / "grid.yaml"))
    for number, rank in enumerate((8, 16), 1):
        run = folder / f"run{number}"
        record = tracker.recorder(run, folder)
        config = check({**BASE, "net_dim": rank}).config
        record(run_started(config, name=f"net_dim={rank}", tags={"lora_lab.sweep": "rank"}))
        record(DatasetUsed(name="cats", digest="ab" * 32, source="/d", profile={"pictures": 3}))
        for step in range(1, 6):
            record(
                Metrics(step=step, values={"loss": 1 / step, "val_loss": rank / step}, time_ms=1_700_000_000_000 + step)
            )
        Image.new("RGB", (16, 16), (rank, 0, 0)).save(run / "5.png")
        record(SamplePicture(step=5, key="a cat", path=run / "5.png"))
        (run / "lora.safetensors").write_bytes(b"lora")
        record(Artifact(path=run / "lora.safetensors"))
        record(RunEnded(status="FINISHED" if rank == 8 else "FAILED", message="" if rank == 8 else "no memory"))
        record.close()
    parent(RunEnded(status="FAILED"))
    parent.close()


def _log_single(target: Target, folder: Path, warnings: list[str]) -> None:
    recorder = open_recorder(target, "train", None, folder, warnings.append, Shipper)
    recorder(run_started(check(BASE).config, name="alone", tags={}))
    (folder / "bad.png").write_text("no picture")
    recorder(Metrics(step=1, values={"loss": 0.5}, time_ms=1_700_000_000_000))
    assert recorder.close(60)


@pytest.fixture(scope="session")
def client(store: Target) -> Any:
    """Return MLflow's own client."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store.uri)


def runs_of(client: Any, experiment: str) -> list[Any]:
    """Return an experiment's runs in the order of their start."""
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]))


def test_a_sweep_is_a_parent_with_nested_children(client: Any) -> None:
    """One experiment, one parent, and a child for each run that names it."""
    runs = {run.info.run_name: run for run in runs_of(client, "rank")}
    assert set(runs) == {"rank", "net_dim=8", "net_dim=16"}
    parent = runs["rank"].info.run_id
    assert "mlflow.parentRunId" not in runs["rank"].data.tags
    assert {runs[name].data.tags["mlflow.parentRunId"] for name in ("net_dim=8", "net_dim=16")} == {parent}
    assert runs["rank"].data.tags["mlflow.note.content"] == "two runs"
    assert [artifact.path for artifact in client.list_artifacts(parent)] == ["grid.yaml"]
    assert {name: run.info.status for name, run in runs.items()} == {
        "rank": "FAILED",
        "net_dim=8": "FINISHED",
        "net_dim=16": "FAILED",
    }
    assert runs["net_dim=16"].data.tags["lora_lab.message"] == "no memory"


def test_a_run_holds_every_parameter_and_curve(client: Any) -> None:
    """All parameters with their effective values, and metrics over steps with their times."""
    run = next(run for run in runs_of(client, "rank") if run.info.run_name == "net_dim=8")
    assert set(run.data.params) == set(PARAMETERS)
    assert len(run.data.params) >= 60
    assert run.data.params["net_dim"] == "8"
    assert run.data.params["alpha"] == "16.0"
    history = client.get_metric_history(run.info.run_id, "val_loss")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (step, 8 / step, 1_700_000_000_000 + step) for step in range(1, 6)
    ]


def test_a_run_holds_its_pictures_files_and_data(client: Any) -> None:
    """The picture lies where the image grid looks for it, with key and step; the LoRA and the data set are there."""
    run = next(run for run in runs_of(client, "rank") if run.info.run_name == "net_dim=8")
    assert "lora.safetensors" in [artifact.path for artifact in client.list_artifacts(run.info.run_id)]
    pictures = [artifact.path for artifact in client.list_artifacts(run.info.run_id, "images")]
    assert any(path.startswith("images/a cat+step+5+") and path.endswith(".png") for path in pictures)
    assert run.data.tags["mlflow.loggedImages"]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest, used.tags[0].value) == ("cats", ("ab" * 32)[:36], "training")


def test_artifacts_lie_beside_the_database(client: Any, store: Target) -> None:
    """The artifact place is absolute and in the project's folder."""
    assert store.artifact_root is not None
    assert client.get_experiment_by_name("rank").artifact_location == (store.artifact_root / "rank").as_uri()


def test_a_run_that_was_not_ended_is_killed(client: Any) -> None:
    """Closing a recorder without an end says that the run was cut off."""
    (run,) = runs_of(client, "train")
    assert (run.info.status, run.info.run_name) == ("KILLED", "alone")
    assert "mlflow.parentRunId" not in run.data.tags


def test_the_experiment_carries_the_view(client: Any) -> None:
    """The runs page is told the varied parameters and the metric."""
    tags = client.get_experiment_by_name("rank").tags
    assert tags[VIEW_TAG] == view_state(View(("net_dim", "unet_lr")))
    assert "params.`unet_lr`" in tags[VIEW_TAG]
    assert "metrics.`val_loss`" in tags[VIEW_TAG]


def test_a_second_sweep_in_the_folder_is_the_same_parent(store: Target, client: Any, tmp_path: Path) -> None:
    """Going on with a sweep adds to its parent run; an experiment in the bin is brought back."""
    for _ in range(2):
        with Tracker(store, "again", pytest.fail, Shipper) as tracker:
            parent = tracker.recorder(tmp_path / "again")
            parent(RunStarted(name="again", params={}, tags={"lora_lab.run": "sweep"}))
            parent(RunEnded(status="FINISHED"))
            parent.close()
        (run,) = runs_of(client, "again")
        assert run.info.status == "FINISHED"
        client.delete_experiment(client.get_experiment_by_name("again").experiment_id)


def test_a_file_that_is_gone_or_no_picture_costs_itself(store: Target, client: Any, tmp_path: Path) -> None:
    """What can't be shipped is told and left out; what follows arrives."""
    warnings: list[str] = []
    recorder = open_recorder(store, "broken", None, tmp_path, warnings.append, Shipper)
    (tmp_path / "bad.png").write_text("no picture")
    recorder(SamplePicture(step=1, key="k", path=tmp_path / "bad.png"))
    recorder(Artifact(path=tmp_path / "gone"))
    recorder(Metrics(step=1, values={"bad,name": 1.0}, time_ms=1))
    recorder(Metrics(step=1, values={"loss": 1.0}, time_ms=1))
    recorder(RunEnded(status="FINISHED"))
    assert recorder.close(60)
    (run,) = runs_of(client, "broken")
    assert run.data.metrics == {"loss": 1.0}
    assert run.info.status == "FINISHED"
    assert [warning.split(" event")[0] for warning in warnings] == [
        "the tracker left out a SamplePicture",
        "the tracker left out a Artifact",
        "the tracker left out a Metrics",
    ]


def test_the_server_shows_the_sweeps(store: Target) -> None:
    """The light server starts on a free port, knows the experiments, the newest first, and ends with all of its own."""
    port = free_port(5700)
    server = start_server(store, port)
    try:
        found = experiments(server.address)
        assert {"rank", "train"} <= {experiment.name for experiment in found}
        times = [experiment.last_ms for experiment in found]
        assert times == sorted(times, reverse=True)
        assert next(experiment for experiment in found if experiment.name == "rank").has_view
        assert free_port(port) == port + 1
    finally:
        server.stop()
    assert server.process.poll() is not None
    deadline = time.monotonic() + 10
    while free_port(port) != port:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_address_without_a_server_is_a_failure() -> None:
    """A server that is not there is one line."""
    with pytest.raises(Failure, match="does not answer"):
        experiments(f"http://127.0.0.1:{free_port(5900)}")


def test_addresses_name_the_view_where_there_is_one() -> None:
    """The page reports an error for a view that an experiment has not got."""
    assert runs_address("http://h/", "3") == (
        "http://h/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=lora-lab"
    )
    assert "viewState" not in runs_address("http://h", "3", shared_view=False)
    assert runs_address("http://h", "3", chart=True).endswith("&compareRunsMode=CHART")


def test_a_run_that_goes_on_keeps_its_first_parameters(store: Target, client: Any, tmp_path: Path) -> None:
    """MLflow never changes a parameter: what is new is added, and the rest of the start still counts."""
    recorder = open_recorder(store, "resumed", None, tmp_path, pytest.fail, Shipper)
    recorder(RunStarted(name="first", params={"a": "1", "b": "2"}))
    recorder(RunStarted(name="second", params={"a": "other", "c": "3"}, tags={"t": "u"}))
    recorder(RunEnded(status="FINISHED"))
    assert recorder.close(60)
    (run,) = runs_of(client, "resumed")
    assert run.data.params == {"a": "1", "b": "2", "c": "3"}
    assert (run.info.run_name, run.data.tags["t"]) == ("second", "u")


def test_what_is_sent_again_is_there_once(store: Target, client: Any, tmp_path: Path) -> None:
    """Where a process died before it could note what had arrived, the next one tells it again, and nothing doubles."""
    for _ in range(2):
        recorder = open_recorder(store, "twice", None, tmp_path, pytest.fail, Shipper)
        recorder(RunStarted(name="once", params={"a": "1"}))
        recorder(Metrics(step=1, values={"loss": 0.5}, time_ms=1_700_000_000_000))
        Image.new("RGB", (16, 16)).save(tmp_path / "1.png")
        recorder(SamplePicture(step=1, key="sample_00", path=tmp_path / "1.png"))
        recorder(RunEnded(status="FINISHED"))
        assert recorder.close(600)
        (tmp_path / "events.sent.json").unlink()
    (run,) = runs_of(client, "twice")
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2, "one picture and its smaller copy"
