"""From a grid file to MLflow with the real trainer on the packaged base."""

import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from ruamel.yaml import YAML

from lora_lab.cli import main

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
        patch.setattr(sys, "argv", ["lora-lab", "sweep", "grid.yaml"])
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


def test_four_runs_each_with_everything(swept: tuple[Path, str]) -> None:
    """MLflow has a parent and four nested runs, each finished with ≥ 60 params, both curves, pictures and its LoRA."""
    folder, _ = swept
    client = MlflowClient(f"sqlite:///{folder / 'lora-lab-runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(children) == 4
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        assert len(run.data.params) >= 60
        assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
        assert {point.step for point in client.get_metric_history(run.info.run_id, "val_loss")} >= {0, 4}
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"images", "lora"} <= files
        assert client.list_artifacts(run.info.run_id, "images")
        (lora,) = client.list_artifacts(run.info.run_id, "lora")
        assert lora.path.endswith("lumi.safetensors")
    assert {run.data.params["net_dim"] for run in children} == {"4", "16"}


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
