"""Tasks and messages as lines of JSON: what the sweep and its workers say to each other."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lora_lab.config import check
from lora_lab.lint import Finding
from lora_lab.sweep.footprint import as_data, footprint_from
from lora_lab.sweep.grid import EarlyTerminate, Metric
from lora_lab.sweep.plan import PlannedRun
from lora_lab.sweep.roles import (
    Ended,
    Job,
    Measured,
    Message,
    Outcome,
    Over,
    Rule,
    RunProgress,
    Started,
    Stepped,
    Task,
    Warned,
)


def task_line(task: Task) -> str:
    """Return a task as a line."""
    jobs = [
        {
            "index": job.run.index,
            "name": job.run.name,
            "axes": dict(job.run.axes),
            "config": job.config.model_dump(mode="json"),
            "identity": job.identity,
            "rule": None if job.rule is None else asdict(job.rule),
            "findings": [asdict(replace(finding, span=None, fix=None)) for finding in job.findings],
        }
        for job in task.jobs
    ]
    body = {"number": task.number, "attempt": task.attempt, "measure": task.measure, "jobs": jobs}
    return json.dumps(body, ensure_ascii=False) + "\n"


def read_task(line: str) -> Task:
    """Return the task of a line."""
    body = json.loads(line)
    jobs = []
    for job in body["jobs"]:
        run = PlannedRun(job["index"], job["name"], job["axes"], {})
        findings = tuple(Finding(**{**finding, "keys": tuple(finding["keys"])}) for finding in job["findings"])
        jobs.append(Job(run, check(job["config"]).config, job["identity"], findings, _rule(job["rule"])))
    return Task(body["number"], tuple(jobs), body["attempt"], body["measure"])


def _rule(body: Mapping[str, Any] | None) -> Rule | None:
    return None if body is None else Rule(EarlyTerminate(**body["early"]), Metric(**body["metric"]))


def message_line(message: Message) -> str:
    """Return a message as a line; runs are named by their index."""
    body: dict[str, Any]
    match message:
        case Started(job, folder):
            body = {"job": job.run.index, "folder": str(folder)}
        case Stepped(job, progress):
            body = {"job": job.run.index, "progress": asdict(progress)}
        case Ended(outcome):
            fields = {key: value for key, value in vars(outcome).items() if key != "run"}
            body = {"job": outcome.run.index, "outcome": {**fields, "metrics": dict(outcome.metrics)}}
        case Warned(line):
            body = {"line": line}
        case Measured(job, footprint, room, key):
            body = {"job": job.run.index, "footprint": as_data(footprint), "room": room, "key": key}
        case Over():
            body = {"lost": message.lost, "memory": message.memory, "elsewhere": list(message.elsewhere)}
            body["gone"] = message.gone
    return json.dumps({"kind": type(message).__name__, **body}, ensure_ascii=False, default=str) + "\n"


def read_message(line: str, task: Task) -> Message | None:
    """Return the message of a line about `task`; None for a line that is none."""
    try:
        body = json.loads(line)
        kind = body["kind"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if kind == "Warned":
        return Warned(body["line"])
    if kind == "Over":
        return Over(task, body["lost"], body["memory"], tuple(body["elsewhere"]), body["gone"])
    job = next(job for job in task.jobs if job.run.index == body["job"])
    if kind == "Started":
        return Started(job, Path(body["folder"]))
    if kind == "Measured":
        return Measured(job, footprint_from(body["footprint"]), body["room"], body["key"])
    if kind == "Stepped":
        return Stepped(job, RunProgress(**body["progress"]))
    return Ended(_outcome(job, body["outcome"]))


def _outcome(job: Job, body: Mapping[str, Any]) -> Outcome:
    lora = None if body["lora"] is None else Path(body["lora"])
    return Outcome(**{**body, "run": job.run, "folder": Path(body["folder"]), "lora": lora})
