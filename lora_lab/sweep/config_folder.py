"""A folder of configs as a sweep: each file is a run, as the queues of older trainers had it."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lora_lab.document.trainable import read_trainable, reading, trainable_values
from lora_lab.failure import Failure
from lora_lab.sweep.expression import same
from lora_lab.sweep.grid import Metric
from lora_lab.sweep.plan import Plan, PlannedRun, absolute

SAME_FOR_ALL = "output_folder"
"""The runs of one sweep lie in one place: that of the first config."""


def plan_of_configs(name: str, paths: Sequence[Path], say: Callable[[str], None] = lambda line: None) -> Plan:
    """Return a plan with one run for each config, in the order in which people count: 2.json before 10.json.

    What differs between the files are the axes. `say` is told how another program's file was understood. Raises
    `Failure` where a config cannot be read.
    """
    ordered = sorted(paths, key=_counted)
    configs = [_values(path, say) for path in ordered]
    output = {SAME_FOR_ALL: configs[0][SAME_FOR_ALL]} if SAME_FOR_ALL in configs[0] else {}
    configs = [{**values, **output} for values in configs]
    shared = {key: value for key, value in configs[0].items() if _in_all(key, value, configs)}
    axes = tuple(dict.fromkeys(key for values in configs for key in values if key not in shared))
    stems = [path.stem for path in ordered]
    names = stems if len(set(stems)) == len(stems) else [path.name for path in ordered]
    runs = (
        PlannedRun(index, run, {key: value for key, value in values.items() if key not in shared}, shared)
        for index, (run, values) in enumerate(zip(names, configs, strict=True))
    )
    return Plan(name, Metric(), axes, tuple(runs))


def _values(path: Path, say: Callable[[str], None]) -> dict[str, object]:
    document = read_trainable(path)
    if document.broken:
        raise Failure(f"{path} can't be read", f"see what `lora-lab lint {path}` says about it")
    for line in reading(path, document):
        say(line)
    return absolute(trainable_values(document), path.parent)


def _in_all(key: str, value: object, configs: Sequence[Mapping[str, object]]) -> bool:
    return all(key in values and same(value, values[key]) for values in configs)


def _counted(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts numbers inside a name by their size."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.as_posix().casefold())
    ]
