"""From a grid file to MLflow with the real trainer on the packaged base."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from ruamel.yaml import YAML

from lora_lab.cli import main
from lora_lab.tracking.server import free_port, start_server
from lora_lab.tracking.target import choose_target

pytestmark = pytest.mark.filterwarnings("ignore")  # mlflow's imports warn of their own dependencies

GRID = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The quickstart's grid, cut down to a few steps, swept from the command line: its folder and all output."""
    folder = tmp_path_factory.mktemp("project")
    yaml = YAML()
    grid = yaml.load(GRID)
    grid["base"].update(max_steps=4, sample_every_n_steps=2, output_folder="runs", warmup_lr_ratio=None)
    grid["base"]["sample_prompts"] = ["a red lumi --s 2"]
    with (folder / "grid.yaml").open("w") as stream:
        yaml.dump(grid, stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lora-lab", "sweep", "grid.yaml", "--register", "lumis"])
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        out = _Captured()
        patch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit) as left:
            main()
    assert left.value.code == 0, out.text
    return folder, out.text


class _Captured:
    """Just enough of a text stream for click."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        return False


@pytest.fixture(scope="module")
def address(swept: tuple[Path, str]) -> Iterator[str]:
    """The address of a real MLflow server over what the sweep has logged, and MLflow's own settings set to it."""
    environment = dict(os.environ)
    server = start_server(choose_target(None, swept[0] / "lora-lab-runs"), free_port(5300))
    os.environ["MLFLOW_TRACKING_URI"] = server.address
    yield server.address
    server.stop()
    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger("mlflow").setLevel(logging.NOTSET)


def runs_of(address: str, experiment: str) -> list[Any]:
    """Return an experiment's runs, as anybody would ask for them."""
    client = MlflowClient(address)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def check_run(client: MlflowClient, run: Any, *, steps: int) -> None:
    """Assert that a finished run has params, curves, pictures, data, files, a model, and says what it is."""
    params, tags = run.data.params, run.data.tags
    assert run.info.status == "FINISHED"
    assert len(params) >= 60
    assert float(params["derived.scale"]) == float(params["alpha"]) / int(params["net_dim"])
    assert int(params["derived.total_steps"]) == steps
    assert int(params["derived.images_seen"]) == steps * int(params["derived.effective_batch"])
    for metric in ("loss", "grad_norm", "lr/unet"):
        history = client.get_metric_history(run.info.run_id, metric)
        assert [point.step for point in history] == list(range(1, steps + 1)), metric
    assert {point.step for point in client.get_metric_history(run.info.run_id, "val_loss")} >= {0, steps}
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"images", "lora", "config.json", "lint.json", "dataset.json", "contact_sheet.png"}
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    assert {path.split("+step+")[0] for path in pictures} == {"images/sample_00"}
    assert {int(path.split("+")[2]) for path in pictures} == {0, steps // 2, steps}
    assert any(file.path.endswith("lumi.safetensors") for file in client.list_artifacts(run.info.run_id, "lora"))
    (used,) = run.inputs.dataset_inputs
    profile = json.loads(used.dataset.profile)
    assert used.dataset.digest
    assert sum(profile["buckets"].values()) == profile["uses_per_epoch"] >= profile["pictures"] > 0
    assert profile["commonest_tags"]
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (str(model.status), model.params["base_model"]) == ("READY", params["base_model"])
    assert tags.keys() >= {"lora_lab.packages", "lora_lab.device", "lora_lab.memory", "lora_lab.platform"}
    assert tags["lora_lab.lint.warnings"].isdigit()
    assert "finished" in tags["mlflow.note.content"]
    assert len(tags.get("mlflow.source.git.commit", "0" * 40)) == 40


def test_a_stranger_finds_everything_of_a_sweep(swept: tuple[Path, str], address: str) -> None:
    """A plain client of a real server finds a parent with pictures and figures, and four whole runs below it."""
    runs = runs_of(address, "quickstart")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert [run.data.tags["mlflow.parentRunId"] for run in children] == [parent.info.run_id] * 4
    client = MlflowClient(address)
    for run in children:
        check_run(client, run, steps=4)
    assert {run.data.params["net_dim"] for run in children} == {"4", "16"}
    for key in {key for run in children for key in run.data.params} - {"net_dim", "learning_rate"}:
        values = {run.data.params[key] for run in children}
        assert len(values) == 1 or key in ("derived.scale", "derived.trained_parameters"), key
    figures = {Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert figures == {"val_loss.png", "loss.png", "importance.png", "xy_grid_sample_00.png"}
    assert "Best: **" in parent.data.tags["mlflow.note.content"]


def draw(pipeline: Any) -> bytes:
    """Return the bytes of a picture that a pipeline draws."""
    import torch

    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(1)
    picture = pipeline("lumi", num_inference_steps=1, height=64, width=64, generator=seed).images[0]
    return bytes(picture.tobytes())


def test_the_registered_best_is_a_working_pipeline(swept: tuple[Path, str], address: str) -> None:
    """MLflow's own loader, given the alias alone, makes a pipeline with the LoRA; so does plain diffusers."""
    import mlflow
    import torch
    from diffusers import DiffusionPipeline

    client = MlflowClient(address)
    version = client.get_model_version_by_alias("lumis", "best")
    children = [run for run in runs_of(address, "quickstart") if "mlflow.parentRunId" in run.data.tags]
    best = min(children, key=lambda run: float(run.data.metrics["val_loss"]))
    assert version.run_id == best.info.run_id
    assert version.tags["lora_lab.net_dim"] == best.data.params["net_dim"]
    assert float(version.tags["val_loss"]) == pytest.approx(best.data.metrics["val_loss"], rel=1e-4)
    mlflow.set_tracking_uri(address)
    adapter = mlflow.diffusers.load_model("models:/lumis@best")
    pipeline = adapter.load_pipeline(torch_dtype=torch.float32)
    within = draw(pipeline)
    (lora,) = client.list_artifacts(best.info.run_id, "lora")
    file = Path(client.download_artifacts(best.info.run_id, lora.path))
    plain = DiffusionPipeline.from_pretrained(best.data.params["base_model"])
    without = draw(plain)
    plain.load_lora_weights(str(file.parent), weight_name=file.name)
    assert draw(plain) == within != without


def test_a_lora_lies_once_in_the_store(swept: tuple[Path, str]) -> None:
    """A run's file and its model are two names of one file."""
    root = swept[0] / "lora-lab-runs" / "mlartifacts"
    files = [path for path in root.rglob("*.safetensors") if path.is_file()]
    assert len(files) == 2 * 4
    assert len({path.stat().st_ino for path in files}) == 4


def test_a_stranger_finds_everything_of_a_single_training(
    swept: tuple[Path, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train --register` tells the same of one run: what lint said, its data, its model, a version with its figures."""
    folder = swept[0]
    config = json.loads((folder / "runs" / "quickstart" / "best.json").read_text())
    config["output_folder"] = str(folder / "alone")
    (folder / "alone.json").write_text(json.dumps(config))
    words = ["lora-lab", "train", str(folder / "alone.json"), "--tracking-uri", address, "--register", "lumis"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    (run,) = runs_of(address, "train")
    client = MlflowClient(address)
    check_run(client, run, steps=4)
    version = client.get_model_version_by_alias("lumis", "best")
    assert (int(version.version), version.run_id) == (2, run.info.run_id)
    assert float(version.tags["val_loss"]) == pytest.approx(run.data.metrics["val_loss"], rel=1e-4)


def test_table_and_folders(swept: tuple[Path, str]) -> None:
    """The output ends with a table of the four runs and the best one's LoRA, which exists; runs lie in run1 to run4."""
    folder, text = swept
    runs = folder / "runs" / "quickstart"
    assert sorted(path.name for path in runs.glob("run*")) == ["run1", "run2", "run3", "run4"]
    best = text.split("best:")[1]
    lora = next(line.strip() for line in best.splitlines() if line.strip().endswith(".safetensors"))
    assert Path(lora).is_file()
    assert "val_loss" in text
    assert "lora-lab ui quickstart" in text
    assert not list(folder.rglob("*.partial"))


def test_second_time_nothing_is_trained(
    swept: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sweeping the same grid again reuses every finished run and makes no new folder."""
    folder, _ = swept
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["lora-lab", "sweep", "grid.yaml", "--no-tracking"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert capsys.readouterr().out.count("done before") >= 4
    assert len(list((folder / "runs" / "quickstart").glob("run*"))) == 4
