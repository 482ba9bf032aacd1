"""What several tests of commands share: a sweep of six runs, tracked in a database, its best run registered."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lora_lab.cli.sweep import SweepOptions, run_sweep
from lora_lab.failure import Failure
from lora_lab.lint import Finding
from lora_lab.sweep import judge
from lora_lab.sweep.roles import Progress, RunToTrain, TrainResult
from lora_lab.tracking.events import Artifact, DatasetUsed, LoraModel, Metrics, SamplePicture
from lora_lab.tracking.target import Target, choose_target

GRID = """\
name: ranks
base: base.json
parameters:
  net_dim: [4, 8, 16]
  unet_lr: [1e-3, 1e-4]
"""


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
    import safetensors.numpy
    from numpy import zeros
    from PIL import Image

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
    run.record(Artifact(path=lora, folder="lora"))
    run.record(LoraModel(path=lora, step=20, base_model=str(run.config.base_model), facts={"net_dim": str(rank)}))
    return Result(lora, {"loss": rank / 21, "val_loss": rank * rate / 21})


def _lint(shared: object, points: Sequence[object], *rest: object) -> list[tuple[Finding, ...]]:
    return [(Finding("LL399", "sixteen", "warning", "ranks are even", ("net_dim",), None, "take 17"),) for _ in points]


@pytest.fixture(scope="session")
def ranks_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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


@pytest.fixture(scope="session")
def ranks_target(ranks_project: Path) -> Target:
    """Where the sweep is tracked."""
    return choose_target(None, ranks_project / "lora-lab-runs")
