"""What a run and a sweep are, in a few lines of Markdown: MLflow shows them above everything else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from lora_lab.sweep.grid import label
from lora_lab.sweep.roles import Job, Outcome

MOST_FINDINGS = 10


def run_note(job: Job, outcome: Outcome) -> str:
    """Return the summary of a run that is over."""
    lines = [f"**{outcome.run.name}**: {_ending(outcome)}"]
    if outcome.run.axes:
        lines += ["", "| varied | value |", "| --- | --- |"]
        lines += [f"| {axis} | {_cell(label(value))} |" for axis, value in outcome.run.axes.items()]
    if outcome.metrics:
        lines += ["", "| metric | last value |", "| --- | --- |"]
        lines += [f"| {name} | {value:.5g} |" for name, value in outcome.metrics.items()]
    lines += ["", f"Base model: `{job.config.base_model}`  ", f"Data: `{job.config.img_folder}`  "]
    if outcome.lora is not None:
        lines.append(f"LoRA: `{outcome.lora}`  ")
    lines.append(f"Folder: `{outcome.folder}`")
    return "\n".join([*lines, *_findings(job)])


def finding_tags(job: Job) -> dict[str, str]:
    """Return what lint says of a run, as tags."""
    severities = [finding.severity for finding in job.findings]
    codes = sorted({finding.code for finding in job.findings})
    return {
        "lora_lab.lint.warnings": str(severities.count("warning")),
        "lora_lab.lint.infos": str(severities.count("info")),
        **({"lora_lab.lint.codes": ", ".join(codes)} if codes else {}),
    }


def findings_text(job: Job) -> str:
    """Return what lint says of a run, as the JSON that is kept with it."""
    findings = [{**asdict(finding), "span": None, "fix": None} for finding in job.findings]
    return json.dumps(findings, indent=2, ensure_ascii=False, default=str) + "\n"


def sweep_note(table: str, best: str, shares: Mapping[str, float], metric: str) -> str:
    """Return the summary of a sweep: the best run, what mattered, and the table of its runs."""
    lines = [f"Best: **{best}**", ""] if best else []
    if shares:
        parts = ", ".join(f"{axis} {share:.0%}" for axis, share in shares.items())
        lines += [f"What mattered for {metric}: {parts}", ""]
    return "\n".join([*lines, "```", table, "```"])


def _ending(outcome: Outcome) -> str:
    if outcome.status == "FINISHED":
        return f"finished, {outcome.steps} steps in {outcome.seconds:.0f} s"
    words = {"FAILED": "failed", "PRUNED": "cut short"}
    return f"{words.get(outcome.status, 'interrupted')}: {outcome.reason}"


def _findings(job: Job) -> Sequence[str]:
    worth_saying = [finding for finding in job.findings if finding.severity != "info"]
    if not worth_saying:
        return []
    lines = [f"- {finding.code} {finding.severity}: {finding.message}" for finding in worth_saying[:MOST_FINDINGS]]
    left = len(worth_saying) - len(lines)
    return ["", "Lint said before it began:", "", *lines, *([f"- and {left} more in lint.json"] if left > 0 else [])]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
