"""Cutting runs short: Optuna's pruners, asked in whatever process trains the run.

Every run is a trial of one study in the sweep's folder. The values that a run reports there are numbered by its
validations, so that runs of different lengths are compared after equally many.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_lab.sweep.grid import EarlyTerminate
from lora_lab.sweep.roles import EndStatus, Rule
from lora_lab.sweep.study import open_study

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

IDENTITY = "identity"
STEPS = "steps"
"""The training steps that values were reported at: a run that goes on validates some of them again."""

FIRST_RUNS = 4
"""Runs that `median` lets finish before it cuts any: the median of fewer says little."""


class Referee:
    """Says whether one run should end, and takes down how it ended."""

    def __init__(self, rule: Rule, identity: str, sweep_folder: Path) -> None:
        """A run that was interrupted goes on with what it has reported. Raises `Failure` without Optuna."""
        import optuna  # noqa: PLC0415 -- see study.py

        self._rule = rule
        self._study = open_study(sweep_folder, f"runs: {rule.text}", rule.metric.goal, pruner(rule.early))
        running = (optuna.trial.TrialState.RUNNING,)
        open_trials = [
            trial for trial in self._study.get_trials(states=running) if trial.user_attrs.get(IDENTITY) == identity
        ]
        if open_trials:
            self._trial = optuna.Trial(self._study, open_trials[0]._trial_id)
        else:
            self._trial = self._study.ask()
            self._trial.set_user_attr(IDENTITY, identity)
        self._steps: list[int] = list(self._trial.user_attrs.get(STEPS, []))

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Report the metric after a validation; return whether the run should be cut short.

        A run without the metric never is. Where the journal cannot be written training goes on all the same.
        """
        value = metrics.get(self._rule.metric.name)
        if value is None:
            return False
        try:
            if step not in self._steps:
                self._steps.append(step)
                self._trial.set_user_attr(STEPS, self._steps)
                self._trial.report(value, len(self._steps))
            most = self._rule.early.max_iter
            return (most is None or len(self._steps) < most) and self._trial.should_prune()
        except OSError:
            return False

    def over(self, status: EndStatus, metrics: Mapping[str, float]) -> None:
        """Take down how the run ended; one that was interrupted stays open, to go on."""
        from optuna.trial import TrialState  # noqa: PLC0415 -- see study.py

        if status == "KILLED":
            return
        value = metrics.get(self._rule.metric.name, math.nan)
        told: dict[str, Any] = {"state": TrialState.PRUNED if status == "PRUNED" else TrialState.FAIL}
        if status == "FINISHED" and math.isfinite(value):
            told = {"values": value}
        try:
            self._study.tell(self._trial, **told, skip_if_finished=True)
        except OSError:
            return  # a full disk: the run has ended all the same


def pruner(early: EarlyTerminate) -> "BasePruner":
    """Return Optuna's pruner for a rule.

    What W&B calls hyperband, rungs at min_iter times powers of eta and one bracket, is Optuna's asynchronous successive
    halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", 2020).
    """
    from optuna.pruners import MedianPruner, SuccessiveHalvingPruner  # noqa: PLC0415 -- see study.py

    if early.type == "median":
        return MedianPruner(n_startup_trials=FIRST_RUNS, n_warmup_steps=early.min_iter)
    return SuccessiveHalvingPruner(min_resource=early.min_iter, reduction_factor=early.eta)
