"""The LoRA of a real training as MLflow's model: its own client turns it into a pipeline that works."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_lab.tracking.events import DatasetUsed, LoraModel
from lora_lab.tracking.recorder import open_recorder
from lora_lab.tracking.ship import Shipper
from lora_lab.tracking.target import choose_target


@pytest.mark.filterwarnings("ignore")  # those of mlflow's imports and of diffusers
def test_a_trained_lora_loads_into_a_pipeline_from_mlflow(
    train: Callable[..., object], tmp_path: Path, base_folder: Path
) -> None:
    """`mlflow.diffusers.load_model` on the logged model gives a pipeline whose picture differs from the base's."""
    pytest.importorskip("mlflow")
    environment = dict(os.environ)
    trained = train(max_steps=8, learning_rate=0.05)
    (model,) = trained.told(LoraModel)  # type: ignore[attr-defined]
    assert (model.base_model, model.step, model.facts["net_dim"]) == (str(base_folder), 8, "4")
    (used,) = trained.told(DatasetUsed)  # type: ignore[attr-defined]
    assert used.profile["commonest_tags"]["lumi"] == used.profile["num_rows"] == 8
    target = choose_target(f"sqlite:///{tmp_path}/mlflow.db")
    recorder = open_recorder(target, "train", None, tmp_path / "log", pytest.fail, Shipper)
    for event in trained.events:  # type: ignore[attr-defined]
        recorder(event)
    assert recorder.close(120)
    import mlflow
    import torch

    client = mlflow.MlflowClient(tracking_uri=target.uri)
    experiment = client.get_experiment_by_name("train")
    (logged,) = client.search_logged_models([experiment.experiment_id])
    adapter = mlflow.diffusers.load_model(logged.artifact_location)
    pipeline = adapter.load_pipeline(torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> list[int]:
        seed = torch.Generator().manual_seed(1)
        drawn = pipeline("lumi", num_inference_steps=2, height=64, width=64, generator=seed).images[0]
        return list(drawn.tobytes())

    within = draw()
    pipeline.unload_lora_weights()
    assert within != draw()
    os.environ.clear()
    os.environ.update(environment)
    logging.getLogger("mlflow").setLevel(logging.NOTSET)
