"""Plain text tables and durations: aligned, readable without colours and in a log."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_lab.cli.fitted import Column, fitted
from lora_lab.sweep.comparable import Comparable, Judging, comparable, judging_of
from lora_lab.sweep.execute import Outcome
from lora_lab.sweep.grid import Metric, label

STATUS_WORDS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted", "PRUNED": "cut short"}


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows under their header, columns aligned: numbers to the right, the rest to the left."""
    texts = [[row[place] for row in rows] for place in range(len(header))]
    columns = [
        Column(name, cells, right=bool(cells) and all(map(_is_number, cells)))
        for name, cells in zip(header, texts, strict=True)
    ]
    return "\n".join(fitted(columns, None))


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text in ("", "-") or (text[:1] == "-" and text[1:2].isdigit())


def duration(seconds: float) -> str:
    """Return a duration as people say it: "7.3 s", "4 min 05 s", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def ranked(outcomes: Sequence[Outcome], metric: Metric) -> list[Outcome]:
    """Return the outcomes, the best first; those without the metric last, in their order. NaN is no metric.

    Runs that are judged on different things are not ranked among each other: the largest group comes first.
    """
    letters = judged(outcomes, metric).letters
    sign = 1 if metric.goal == "minimize" else -1

    def rank(place: int) -> tuple[bool, int, str, float]:
        letter = letters[place]
        return (not letter, len(letter), letter, sign * outcomes[place].metrics[metric.name] if letter else 0.0)

    return [outcomes[place] for place in sorted(range(len(outcomes)), key=rank)]


def judged(outcomes: Sequence[Outcome], metric: Metric) -> Comparable:
    """Return which outcomes compare."""
    told = {outcome.validation for outcome in outcomes}
    same = len(told) == 1 and "" not in told  # then nobody has to look into the folders
    runs = []
    for outcome in outcomes:
        value = outcome.metrics.get(metric.name)
        judging = Judging(outcome.validation) if same else judging_of(outcome.validation, outcome.folder)
        runs.append((judging, value is not None and value == value))
    return comparable(metric.name, runs)


def best_of(outcomes: Sequence[Outcome], metric: Metric) -> Outcome | None:
    """Return the best finished run of the largest group of runs that compare; None where none has the metric."""
    finished = [outcome for outcome in outcomes if outcome.status == "FINISHED"]
    letters = judged(finished, metric).letters
    return ranked(finished, metric)[0] if any(letters) else None


def not_comparable(known: Comparable, metric: str) -> list[str]:
    """Return a line for each group of runs that does not compare with the largest one."""
    lines = []
    for letter, reason in known.reasons.items():
        count = known.letters.count(letter)
        runs = f"{count} run{'s' * (count > 1)} marked {letter}"
        lines.append(f"{metric} of {runs} does not compare with that of A: {reason}")
    return lines


def outcome_table(outcomes: Sequence[Outcome], metric: Metric, axes: Sequence[str]) -> str:
    """Return the runs, the best first: folder, varied values, metrics, steps, time, status.

    Where runs are judged on different things, a letter says which compare, and a line why others do not.
    """
    names = list(dict.fromkeys((metric.name, "val_loss", "loss")))
    order = ranked(outcomes, metric)
    known = judged(order, metric)
    marks = [] if known.all_alike else ["judged"]
    header = ["run", *axes, *names, *marks, "steps", "time", "status"]
    rows = [
        [
            outcome.folder.name,
            *(_short(outcome.run.axes.get(axis)) for axis in axes),
            *(_number(outcome.metrics, name) for name in names),
            *(letter or "-" for _ in marks),
            str(outcome.steps) if outcome.steps else "-",
            duration(outcome.seconds),
            _status(outcome),
        ]
        for outcome, letter in zip(order, known.letters, strict=True)
    ]
    return "\n".join([text_table(header, rows), *not_comparable(known, metric.name)])


def _status(outcome: Outcome) -> str:
    """Return how a run ended, in words."""
    if outcome.status == "PRUNED":
        return outcome.reason or STATUS_WORDS["PRUNED"]
    return "done before" if outcome.reused else STATUS_WORDS[outcome.status]


def _short(value: object) -> str:
    text = label(value)
    return Path(text).name if "/" in text and len(text) > 30 else text


def _number(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.5g}" if name in metrics else "-"
