"""What MLflow's runs page shows of a sweep, and the address that opens it.

Left alone, MLflow 3 opens an empty GenAI page, folds nested runs under their parent, and shows no parameter and no
metric. Its runs page takes a *shared view state*: an experiment tag `mlflow.sharedViewState.{key}` holding JSON, named
by `viewStateShareKey={key}` in the address. Sorting by anything but the date unfolds the children (read in the page's
code and seen in MLflow 3.17.2).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

VIEW_KEY = "lora-lab"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
LAST_RUN_TAG = "lora_lab.last_run"
RUN_TAG = "lora_lab.run"
RUNS_MODE_KEY = "compareRunsMode"


@dataclass(frozen=True)
class View:
    """What to show: the varied parameters and the metric to sort by, best first."""

    axes: tuple[str, ...]
    metric: str = "val_loss"
    ascending: bool = True


def view_state(view: View) -> str:
    """Return the view as the JSON that the runs page reads."""
    metrics = tuple(dict.fromkeys((view.metric, "val_loss", "loss")))
    columns = [*(f"params.`{axis}`" for axis in view.axes), *(f"metrics.`{name}`" for name in metrics)]
    return json.dumps(
        {
            "searchFilter": f"tags.`{RUN_TAG}` = 'train'",
            "orderByKey": f"metrics.`{view.metric}`",
            "orderByAsc": view.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "selectedColumns": columns,
        }
    )


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
