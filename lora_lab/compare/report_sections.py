"""The parts of a report that need no script: what came out, tables, findings, machines, how to train the best again."""

import json
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from lora_lab.compare.comparison import Comparison, is_measured, value_of
from lora_lab.compare.markup import node
from lora_lab.compare.report_data import Ordered, differing
from lora_lab.compare.run import NOT_COMPARED, Run
from lora_lab.compare.words import rounded, with_spread
from lora_lab.config import PARAMETERS, quoted
from lora_lab.sweep.grid import SEED, label

MOST_NAMES = 8
BEST = 8
"""Runs whose curves have colours of their own, as in the page's script."""

MOST_LETTERS = 80

_ABOUT = {
    "lora_lab.version": "lora_lab",
    "lora_lab.packages": "packages",
    "lora_lab.platform": "system",
    "lora_lab.device": "device",
    "lora_lab.memory": "memory",
    "lora_lab.family": "model family",
    "lora_lab.base_hash": "base model (SHA-256)",
    "mlflow.source.git.commit": "git commit of the working folder",
    "lora_lab.git.changed": "changed since that commit",
}
"""Tags that say where a run was trained, and what they are called."""

_SEVERITIES = ("error", "warning", "info")


def runs_table(found: Comparison, order: Ordered) -> Element:
    """Return the table of all runs, a line for each, the best first."""
    seeds = [SEED] if any(run.seed is not None for run in order.runs) and SEED not in found.columns else []
    sweep = ["sweep"] if len({run.sweep for run in order.runs}) > 1 else []
    judged = [] if found.comparable.all_alike else ["judged"]
    names = [
        "run",
        *sweep,
        *found.columns,
        *seeds,
        found.metric,
        *judged,
        "best",
        "at step",
        "steps",
        "seconds",
        "status",
    ]
    numeric = {found.metric, "best", "at step", "steps", "seconds"}
    head = node("tr", [node("th", node("button", name), class_="number" if name in numeric else "") for name in names])
    body = node("tbody")
    for number, (run, letter) in enumerate(zip(order.runs, order.letters, strict=True)):
        step, best = run.best if run.best is not None else (None, None)
        value = run.metrics[found.metric] if is_measured(run, found.metric) else None
        cells = [node("td", *_swatch(number, letter), run.folder.name, title=str(run.folder))]
        cells += [node("td", run.sweep or "–") for _ in sweep]
        cells += [_cell(value_of(run, name)) for name in (*found.columns, *seeds)]
        cells += [_number(value), *(node("td", letter or "–") for _ in judged), _number(best)]
        cells += [_number(step), _number(run.steps), _number(round(run.seconds, 1))]
        cells.append(node("td", run.status.lower() + (f": {run.reason}" if run.reason else "")))
        body.append(node("tr", cells, data_run=number))
    return node("div", node("table", node("thead", head), body, id="runs"), class_="wide tall")


def _swatch(number: int, letter: str) -> list[Element]:
    """Return a spot in the colour of the run's curve, for those that have one."""
    if letter != "A" or number >= BEST:
        return []
    line = node("line", class_=f"c{number}", x1=0, x2=14, y1=6, y2=6, stroke_width=4)
    return [node("svg", line, class_="swatch", width=14, height=12)]


def settings_table(found: Comparison) -> Iterator[Element]:
    """Yield the settings, seeds put together, the best first, where any has more than one run."""
    rows = [row for row in found.rows if row.letter and row.spread is not None]
    if all(row.spread is None or row.spread.n < 2 for row in rows):
        return
    judged = [] if found.comparable.all_alike else ["judged"]
    names = [*found.columns, f"{found.metric}, mean ± sd", "runs", "behind", *judged, "which"]
    body = []
    for row in rows:
        assert row.spread is not None
        ahead = "" if not row.behind else f"{'~ ' if row.within else ''}{row.behind:+.2g}"
        cells = [_cell(row.values[name]) if name in row.values else node("td", "–") for name in found.columns]
        cells += [node("td", with_spread(row.spread), class_="number"), _number(row.spread.n)]
        cells += [node("td", ahead, class_="number"), *(node("td", row.letter) for _ in judged)]
        cells.append(node("td", _names([run.folder.name for run in row.runs])))
        body.append(node("tr", cells))
    head = node("thead", node("tr", [node("th", name) for name in names]))
    yield node("div", node("table", head, node("tbody", body)), class_="wide tall")


def _cell(value: object) -> Element:
    text = label(value)
    short = text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return node("td", short, class_="number", data_value=value)
    return node("td", short)


def _number(value: float | None) -> Element:
    return node(
        "td", "–" if value is None else rounded(value), class_="number", data_value="" if value is None else value
    )


def bars(found: Comparison) -> Iterator[Element]:
    """Yield which part of the metric's variance each parameter explains by itself."""
    rows = [
        node(
            "tr",
            node("td", name),
            node(
                "td",
                node(
                    "svg",
                    node("rect", class_="track", width="100%", height=14, rx=3),
                    node("rect", class_="bar", width=f"{share:.1%}", height=14, rx=3),
                    width=260,
                    height=14,
                ),
            ),
            node("td", f"{share:.0%}", class_="number"),
        )
        for name, share in found.shares.items()
    ]
    yield node("div", node("table", rows, class_="bars"), class_="wide")
    yield node(
        "p",
        "Omega squared: the part of the variance that a parameter explains by itself, corrected for chance. What is "
        "missing to 100 % is what parameters do together, and noise.",
        class_="quiet",
    )


def differences(order: Ordered) -> Iterator[Element]:
    """Yield which settings differ between runs, each value with the runs that have it, and what all have in common."""
    rows = []
    different = differing(order.runs)
    for name in different:
        by_value: dict[str, list[str]] = {}
        for run in order.runs:
            by_value.setdefault(label(value_of(run, name)), []).append(run.folder.name)
        lines = [node("div", node("code", value[:300]), f" in {_names(runs)}") for value, runs in by_value.items()]
        rows.append(node("tr", node("th", name), node("td", lines[:MOST_NAMES], *_and_more(len(lines)))))
    if rows:
        yield node("div", node("table", rows), class_="wide")
    else:
        yield node("p", "No setting differs.")
    common = [
        node("tr", node("th", name), node("td", node("code", label(value_of(order.runs[0], name))[:300])))
        for name in PARAMETERS
        if name not in NOT_COMPARED and name not in different and _is_set(order.runs[0], name)
    ]
    if common:
        title = f"What all runs have in common, besides the defaults ({len(common)})"
        yield node("details", node("summary", title), node("div", node("table", common), class_="wide"))


def _is_set(run: Run, name: str) -> bool:
    return name in run.values and run.values[name] != PARAMETERS[name].default


def _and_more(count: int) -> list[Element]:
    return [node("div", f"and {count - MOST_NAMES} more values", class_="quiet")] if count > MOST_NAMES else []


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def findings(order: Ordered) -> Iterator[Element]:
    """Yield what lint said before the runs began, equal findings once, the worst first."""
    said: dict[tuple[str, str, str, str], list[str]] = {}
    for run in order.runs:
        for one in run.findings:
            known = [str(one.get(key) or "") for key in ("severity", "code", "message", "remedy")]
            said.setdefault((known[0], known[1], known[2], known[3]), []).append(run.folder.name)
    rank = {severity: place for place, severity in enumerate(_SEVERITIES)}
    rows = [
        node(
            "tr",
            node("td", severity, class_=severity if severity in _SEVERITIES else ""),
            node("td", code),
            node("td", node("div", message), node("small", remedy) if remedy else None),
            node("td", "every run" if len(runs) == len(order.runs) else _names(runs)),
        )
        for (severity, code, message, remedy), runs in sorted(said.items(), key=lambda one: rank.get(one[0][0], 3))
    ]
    yield node("div", node("table", rows), class_="wide") if rows else node("p", "Lint found nothing.")


def environment(order: Ordered) -> Iterator[Element]:
    """Yield versions, hardware and git commit; where they differ, which runs had which."""
    rows = []
    for tag, title in _ABOUT.items():
        by_value: dict[str, list[str]] = {}
        for run in order.runs:
            if run.tags.get(tag):
                by_value.setdefault(run.tags[tag], []).append(run.folder.name)
        same = len(by_value) == 1
        lines = [node("div", value, "" if same else f" ({_names(runs)})") for value, runs in by_value.items()]
        if lines:
            rows.append(node("tr", node("th", title), node("td", lines[:MOST_NAMES], *_and_more(len(lines)))))
    yield node("div", node("table", rows), class_="wide") if rows else node("p", "The runs did not say.")


def again(found: Comparison) -> Iterator[Element]:
    """Yield the commands that train the best run again, and its config for whoever has only this page."""
    best = found.best_run
    if best is None:
        yield node("p", f"No run has finished with a {found.metric}.")
        return
    command = f"lora-lab best {quoted(best.folder)} -o best.json\nlora-lab train best.json"
    yield node("p", f"Where the runs lie, for {best.folder.name} ({best.name}):")
    yield node("pre", node("code", command))
    if best.lora is not None:
        yield node("p", "Its LoRA: ", node("code", str(best.lora)))
    values = {name: best.values[name] for name in PARAMETERS if _is_set(best, name)}
    if values:
        text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
        yield node("details", node("summary", "Its config"), node("pre", node("code", text)))
