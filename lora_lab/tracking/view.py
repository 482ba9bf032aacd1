"""What MLflow's runs page shows of a sweep, and the address that opens it.

Left alone, MLflow 3 opens an empty GenAI page, folds nested runs under their parent, and shows no parameter and no
metric. Its runs page takes a *shared view state*: an experiment tag `mlflow.sharedViewState.{key}` holding JSON, named
by `viewStateShareKey={key}` in the address. Sorting by anything but the date unfolds the children. The chart page reads
its sections and cards there too; left alone it makes a third of the width a card and writes every parameter over each
picture (read in the page's code and seen in MLflow 3.17.2).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VIEW_KEY = "lora-lab"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
LAST_RUN_TAG = "lora_lab.last_run"
RUN_TAG = "lora_lab.run"
RUNS_MODE_KEY = "compareRunsMode"
AXES_TAG = "lora_lab.axes"
METRIC_TAG = "lora_lab.metric"
GOAL_TAG = "lora_lab.goal"
PICTURES_TAG = "lora_lab.pictures"
"""The tag with the keys of the sample pictures and the step to show, as `join_pictures` writes it."""

MOST_KEYS = 8
RUNS_SHOWN = 20
PICTURES, CURVES, AXES = "Pictures", "Curves", "Parameters and result"


@dataclass(frozen=True)
class View:
    """What to show: the varied parameters and the metric to sort by, best first; the pictures at `picture_step`."""

    axes: tuple[str, ...]
    metric: str = "val_loss"
    ascending: bool = True
    picture_keys: tuple[str, ...] = ()
    picture_step: int = 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics to show."""
        return tuple(dict.fromkeys((self.metric, "val_loss", "loss")))


def view_of(tags: Mapping[str, str]) -> View:
    """Return the view of a run that is a sweep's parent, or that belongs to no sweep, by its tags."""
    keys, step = parse_pictures(tags.get(PICTURES_TAG, ""))
    return View(
        parse_axes(tags.get(AXES_TAG, "")),
        tags.get(METRIC_TAG, "val_loss"),
        tags.get(GOAL_TAG) != "maximize",
        keys,
        step,
    )


def view_state(view: View) -> str:
    """Return the view as the JSON that the runs page reads: its table, and its charts."""
    columns = [*(f"params.`{axis}`" for axis in view.axes), *(f"metrics.`{name}`" for name in view.metrics)]
    return json.dumps(
        {
            "searchFilter": f"tags.`{RUN_TAG}` = 'train'",
            "orderByKey": f"metrics.`{view.metric}`",
            "orderByAsc": view.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "selectedColumns": columns,
            "runsHiddenMode": f"FIRST_{RUNS_SHOWN}_RUNS",
            "compareRunSections": _sections(view),
            "compareRunCharts": _cards(view),
            "isAccordionReordered": True,  # so that our sections stay first
        }
    )


def _sections(view: View) -> list[dict[str, object]]:
    """Return the chart page's sections; the page itself adds cards for all other metrics to the last two."""
    own = [_section(PICTURES, columns=1, height=620)] if view.picture_keys else []
    own.append(_section(CURVES, columns=2, height=400))
    if view.axes:
        own.append(_section(AXES, columns=1, height=440))
    return [*own, _section("Model metrics", columns=3, height=320), _section("System metrics", columns=3, shown=False)]


def _section(name: str, *, columns: int, height: int = 360, shown: bool = True) -> dict[str, object]:
    return {
        "uuid": f"lora-lab-{name}",
        "name": name,
        "display": shown,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": columns,
        "cardHeight": height,
    }


def _cards(view: View) -> list[dict[str, object]]:
    """Return the chart page's cards: the pictures of all runs, the curves, the parameters against the metric."""
    cards = [_card("LINE", CURVES, name, {"metricKey": name, **_LINE}) for name in view.metrics]
    if view.picture_keys:
        grid = {"imageKeys": list(view.picture_keys), "step": view.picture_step, "showRunParams": False}
        cards.insert(0, _card("IMAGE", PICTURES, "Pictures of all runs", grid))
        # the page makes a narrow card of its own for every key, unless there has been one that somebody took away
        cards += [
            _card("IMAGE", "Model metrics", key, {"imageKeys": [key], "deleted": True, "isGenerated": True})
            for key in view.picture_keys
        ]
    if view.axes:
        parallel = {"selectedParams": list(view.axes), "selectedMetrics": [view.metric], "showAllRuns": True}
        cards.append(_card("PARALLEL", AXES, f"{', '.join(view.axes)} → {view.metric}", parallel))
    return cards


_LINE: Mapping[str, object] = {
    "lineSmoothness": 0,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "range": {},
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "ignoreOutliers": False,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}


def _card(kind: str, section: str, name: str, settings: Mapping[str, object]) -> dict[str, object]:
    return {
        "uuid": f"lora-lab-{kind}-{name}",
        "type": kind,
        "metricSectionId": f"lora-lab-{section}",
        "displayName": name,
        "runsCountToCompare": RUNS_SHOWN,
        "deleted": False,
        "isGenerated": False,
        **settings,
    }


def runs_address(server: str, experiment_id: str, *, shared_view: bool = True, chart: bool = False) -> str:
    """Return the address of the experiment's runs: a table, or with `chart` the curves and pictures.

    `shared_view` shows them as `view_state` says; the page reports an error where the experiment has no such tag.
    """
    view = f"&viewStateShareKey={VIEW_KEY}" if shared_view else ""
    mode = f"&{RUNS_MODE_KEY}=CHART" if chart else ""
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning{view}{mode}"


def parse_axes(text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated tag."""
    return tuple(name for name in text.split(",") if name)


def join_axes(axes: Sequence[str]) -> str:
    """Return the names as a tag's text."""
    return ",".join(axes)


def join_pictures(keys: Sequence[str], step: int) -> str:
    """Return which pictures to show, as a tag's text."""
    return json.dumps({"keys": list(keys)[:MOST_KEYS], "step": step})


def parse_pictures(text: str) -> tuple[tuple[str, ...], int]:
    """Return the keys and the step in a tag; none and 0 where it is broken."""
    try:
        body = json.loads(text)
        return tuple(str(key) for key in body["keys"]), int(body["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return (), 0
