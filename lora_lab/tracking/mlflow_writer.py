"""Events become calls of MLflow's client. The only module that imports mlflow, and only when the writer is made."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_lab.tracking.database import make_whole
from lora_lab.tracking.events import (
    Artifact,
    DatasetUsed,
    LoraModel,
    Metrics,
    Noted,
    Registered,
    RunEnded,
    RunStarted,
    SamplePicture,
    SystemMetrics,
)
from lora_lab.tracking.logged_model import log_lora, register
from lora_lab.tracking.spool import SpooledEvent, SpoolHeader
from lora_lab.tracking.target import Target, alone
from lora_lab.tracking.view import LAST_RUN_TAG, RUN_TAG, VIEW_TAG, view_of, view_state

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
PARAM_LENGTH = 6000
TAG_LENGTH = 5000
KEY_TAG = "lora_lab.key"
DATASET = "dataset.json"
REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"})

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it looks up an address outside otherwise
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the shipping thread tries again by itself, with longer pauses
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def is_refusal(error: Exception) -> bool:
    """Return whether the tracker understood and said no, so that asking again is in vain."""
    ours = isinstance(error, (ValueError, TypeError)) and not isinstance(error, OSError)  # as broken answers are
    return getattr(error, "error_code", None) in REFUSALS or isinstance(error, FileNotFoundError) or ours


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
        self._begun: set[tuple[str, str, int]] = set()  # pictures that may have arrived although an error was told
        self._looked: set[str] = set()  # runs of which it is known what an earlier process may have begun
        with alone(target):
            make_whole(target)
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
        made = str(self._client.create_run(experiment_id, start_time=time_ms, tags=tags).info.run_id)
        self._looked.add(made)
        return made

    def write(self, run_id: str, experiment_id: str, parcel: Sequence[SpooledEvent]) -> None:
        """Write one parcel: many `Metrics`, or one event of another kind."""
        event = parcel[0].event
        match event:
            case Metrics() | SystemMetrics():
                self._write_metrics(run_id, parcel)
            case RunStarted():
                self._write_start(run_id, experiment_id, event)
            case DatasetUsed():
                self._write_dataset(run_id, event)
            case SamplePicture():
                self._write_picture(run_id, event, parcel[0].time_ms)
            case Artifact():
                self._client.log_artifact(run_id, str(event.path), event.folder or None)
            case _:
                self._write_end(run_id, experiment_id, parcel[0])

    def _write_end(self, run_id: str, experiment_id: str, spooled: SpooledEvent) -> None:
        """Write what a run tells when it is over."""
        event = spooled.event
        match event:
            case LoraModel():
                log_lora(self._client, run_id, experiment_id, event)
            case Registered():
                register(self._client, run_id, experiment_id, event)
            case Noted():
                self._write_tags(run_id, {"mlflow.note.content": event.note, **event.tags})
            case RunEnded():
                if event.message:
                    self._client.set_tag(run_id, "lora_lab.message", event.message[:TAG_LENGTH])
                self._client.set_terminated(run_id, event.status, end_time=spooled.time_ms)

    def _write_metrics(self, run_id: str, parcel: Sequence[SpooledEvent]) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(key, value, spooled.event.time_ms, _step(spooled.event))
            for spooled in parcel
            if isinstance(spooled.event, (Metrics, SystemMetrics))
            for key, value in spooled.event.values.items()
        ]
        for chunk in _chunks(points, METRICS_PER_CALL):
            self._client.log_batch(run_id, metrics=chunk)

    def _write_start(self, run_id: str, experiment_id: str, event: RunStarted) -> None:
        from mlflow.entities import Param

        self._client.update_run(run_id, status="RUNNING", name=event.name)
        params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in event.params.items()]
        for chunk in _chunks(params, PARAMS_PER_CALL):
            self._write_params(run_id, chunk)
        self._write_tags(run_id, _tags(event))
        self._show(experiment_id, event.tags)

    def _write_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        known = [RunTag(key, value[:TAG_LENGTH]) for key, value in tags.items()]
        for chunk in _chunks(known, PARAMS_PER_CALL):
            self._client.log_batch(run_id, tags=chunk)

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
        if tags.get(RUN_TAG) == "sweep" or "lora_lab.sweep" not in tags:
            self._client.set_experiment_tag(experiment_id, VIEW_TAG, view_state(view_of(tags)))

    def _write_dataset(self, run_id: str, event: DatasetUsed) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=event.name[:500],
            digest=event.digest[:36],  # MLflow's limit
            source_type="local",
            source=json.dumps({"uri": event.source}),
            profile=json.dumps(event.profile, ensure_ascii=False, default=str),
        )
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        about = {"name": event.name, "digest": event.digest, "source": event.source, **event.profile}
        # MLflow's page shows the profile's number of rows and nothing else of it
        self._client.log_text(run_id, json.dumps(about, indent=2, ensure_ascii=False, default=str), DATASET)

    def _write_picture(self, run_id: str, event: SamplePicture, time_ms: int) -> None:
        from PIL import Image, UnidentifiedImageError

        place = (run_id, event.key, event.step)
        uncertain = place in self._begun or run_id not in self._looked
        if uncertain and self._has_picture(run_id, event):
            self._looked.add(run_id)
            self._client.set_tag(run_id, "mlflow.loggedImages", "True")
            return
        try:
            picture = Image.open(event.path)
            picture.load()
        except UnidentifiedImageError as error:
            raise ValueError(str(error)) from error  # an OSError otherwise, as a tracker that is down would be
        self._looked.add(run_id)
        self._begun.add(place)
        self._client.log_image(run_id, picture, key=event.key, step=event.step, timestamp=time_ms)
        self._begun.discard(place)

    def _has_picture(self, run_id: str, event: SamplePicture) -> bool:
        """Return whether a picture arrived whole, with its smaller copy, although the tracker did not say so."""
        names = [file.path.removeprefix("images/") for file in self._client.list_artifacts(run_id, "images")]
        return sum(name.startswith(f"{event.key}+step+{event.step}+") for name in names) >= 2


def _step(event: Metrics | SystemMetrics) -> int:
    return event.step if isinstance(event, Metrics) else event.second


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
