"""Events become calls of MLflow's client. The only module that imports mlflow, and only when the writer is made."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_lab.tracking.events import Artifact, DatasetUsed, Metrics, RunEnded, RunStarted, SamplePicture
from lora_lab.tracking.spool import SpooledEvent, SpoolHeader
from lora_lab.tracking.target import Target, alone
from lora_lab.tracking.view import LAST_RUN_TAG, RUN_TAG, VIEW_TAG, View, parse_axes, view_state

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
PARAM_LENGTH = 6000
TAG_LENGTH = 5000
KEY_TAG = "lora_lab.key"
REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"})

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it looks up an address outside otherwise
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the shipping thread tries again by itself, with longer pauses
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def is_refusal(error: Exception) -> bool:
    """Return whether the tracker understood and said no, so that asking again is in vain."""
    return getattr(error, "error_code", None) in REFUSALS or isinstance(
        error, (FileNotFoundError, ValueError, TypeError)
    )


class MlflowWriter:
    """Writes runs to one tracker. Every method may raise whatever MLflow raises; none is quick."""

    def __init__(self, target: Target) -> None:
        """Import mlflow (seconds) and reach the tracker, creating its database where there is none."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._target = target
        self._experiments: dict[str, str] = {}
        with alone(target):
            self._client = MlflowClient(tracking_uri=target.uri)
            self._client.search_experiments(max_results=1)

    def experiment(self, name: str) -> str:
        """Return the id of the experiment of that name, made or brought back from the bin where need be."""
        if name not in self._experiments:
            with alone(self._target):
                self._experiments[name] = self._find_or_make(name)
        return self._experiments[name]

    def _find_or_make(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            root = self._target.artifact_root
            location = None if root is None else (root / _file_name(name)).as_uri()
            return self._client.create_experiment(name, artifact_location=location)
        if found.lifecycle_stage != "active":
            self._client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def knows(self, run_id: str) -> bool:
        """Return whether the tracker (still) has that run."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if is_refusal(error):
                return False
            raise

    def run_of(self, header: SpoolHeader, experiment_id: str, parent_run_id: str | None, time_ms: int) -> str:
        """Return the id of the spool's run, found by its key or made: a crash in between must not make two."""
        found = self._client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{header.key}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
        tags = {KEY_TAG: header.key, "mlflow.source.name": "lora-lab", "mlflow.source.type": "LOCAL"}
        if parent_run_id is not None:
            tags["mlflow.parentRunId"] = parent_run_id
        return str(self._client.create_run(experiment_id, start_time=time_ms, tags=tags).info.run_id)

    def write(self, run_id: str, experiment_id: str, parcel: Sequence[SpooledEvent]) -> None:
        """Write one parcel: many `Metrics`, or one event of another kind."""
        event = parcel[0].event
        match event:
            case Metrics():
                self._write_metrics(run_id, parcel)
            case RunStarted():
                self._write_start(run_id, experiment_id, event)
            case DatasetUsed():
                self._write_dataset(run_id, event)
            case SamplePicture():
                self._write_picture(run_id, event, parcel[0].time_ms)
            case Artifact():
                self._client.log_artifact(run_id, str(event.path), event.folder or None)
            case RunEnded():
                if event.message:
                    self._client.set_tag(run_id, "lora_lab.message", event.message[:TAG_LENGTH])
                self._client.set_terminated(run_id, event.status, end_time=parcel[0].time_ms)

    def _write_metrics(self, run_id: str, parcel: Sequence[SpooledEvent]) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(key, value, spooled.event.time_ms, spooled.event.step)
            for spooled in parcel
            if isinstance(spooled.event, Metrics)
            for key, value in spooled.event.values.items()
        ]
        for chunk in _chunks(points, METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=chunk)

    def _write_start(self, run_id: str, experiment_id: str, event: RunStarted) -> None:
        from mlflow.entities import Param, RunTag

        self._client.update_run(run_id, status="RUNNING", name=event.name)
        params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in event.params.items()]
        for chunk in _chunks(params, PARAMS_PER_CALL):
            self._write_params(run_id, chunk)
        tags = [RunTag(key, value[:TAG_LENGTH]) for key, value in _tags(event).items()]
        for chunk in _chunks(tags, PARAMS_PER_CALL):
            self._client.log_batch(run_id, tags=chunk)
        self._show(experiment_id, event.tags)

    def _write_params(self, run_id: str, params: list[Any]) -> None:
        """Write parameters; of a run that is continued those that have changed keep their first value."""
        try:
            self._client.log_batch(run_id, params=params)
        except Exception as error:
            if not is_refusal(error):
                raise
            if len(params) > 1:
                for param in params:
                    self._write_params(run_id, [param])

    def _show(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set what the experiment's page shows: once by the sweep's parent run, or by a run that has no sweep."""
        self._client.set_experiment_tag(experiment_id, LAST_RUN_TAG, str(int(time.time() * 1000)))
        if tags.get(RUN_TAG) == "sweep":
            ascending = tags.get("lora_lab.goal") != "maximize"
            view = View(parse_axes(tags.get("lora_lab.axes", "")), tags.get("lora_lab.metric", "val_loss"), ascending)
        elif "lora_lab.sweep" not in tags:
            view = View(())
        else:
            return
        self._client.set_experiment_tag(experiment_id, VIEW_TAG, view_state(view))

    def _write_dataset(self, run_id: str, event: DatasetUsed) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=event.name[:500],
            digest=event.digest[:36],  # MLflow's limit
            source_type="local",
            source=json.dumps({"uri": event.source}),
            profile=json.dumps(event.profile, default=str)[:16_000],
        )
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def _write_picture(self, run_id: str, event: SamplePicture, time_ms: int) -> None:
        from PIL import Image, UnidentifiedImageError

        try:
            picture = Image.open(event.path)
            picture.load()
        except UnidentifiedImageError as error:
            raise ValueError(str(error)) from error  # an OSError otherwise, as a tracker that is down would be
        self._client.log_image(run_id, picture, key=event.key, step=event.step, timestamp=time_ms)


def _tags(event: RunStarted) -> dict[str, str]:
    """Return the tags of a starting run; one that says nothing else of itself is a training run."""
    tags = {RUN_TAG: "train", **event.tags}
    return {**tags, "mlflow.note.content": event.note} if event.note else tags


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Yield `items` in lists of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _file_name(name: str) -> str:
    """Return an experiment's name as the name of a folder that any system takes."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip(".") or "experiment"
