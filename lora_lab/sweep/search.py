"""Bayesian search: Optuna's TPE proposes points, one when there is a slot for it, and is told what became of them.

Every proposal is a trial of a study in the sweep's folder, so that a sweep which is started again goes on learning.
The sampler sees each axis as a choice, or as the share of its distribution that lies below the value: whatever the
distribution, that share is uniform, which is what TPE takes for granted before it knows better.

A trial stays open until its runs have finished: one whose run failed or was interrupted is trained again by the next
start. TPE keeps away from open trials, so it keeps away from where training breaks.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from lora_lab.sweep import axes_fit
from lora_lab.sweep.axes_fit import Fitting, fit, merged, suggested
from lora_lab.sweep.grid import SEED, Choice, choice
from lora_lab.sweep.plan import PlannedRun, Space
from lora_lab.sweep.points import excluded, holds, point_of
from lora_lab.sweep.roles import Job, Outcome
from lora_lab.sweep.study import open_study, studies

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import TrialState

PREFIX: Final = "search "
VALUES: Final = "values"
IDENTITIES: Final = "identities"
REFUSED: Final = "refused"
EARLIER: Final = "from an earlier space"
METRIC: Final = "metric"

MOST_REFUSED: Final = 100
"""Proposals in a row that cannot be trained, after which the search has come to its end."""

PATIENT: Final = 20
"""Of these so many are TPE's; the others are drawn at random, which leaves a corner that TPE is stuck in."""


class Refused(Exception):
    """A proposal cannot be trained; says why."""


Make = Callable[[Sequence[PlannedRun]], Sequence[Job]]
"""Lints runs and makes them jobs; raises `Refused` for those that cannot be trained."""


@dataclass
class _Open:
    """A trial and what is known of its runs by now."""

    number: int
    runs: int
    outcomes: list[Outcome] = field(default_factory=list)


class Search:
    """A `Source` of jobs for the space of a grid: proposals until `max_runs`."""

    def __init__(self, space: Space, folder: Path, fingerprint: str, make: Make, say: Callable[[str], None]) -> None:
        """`fingerprint` is the hash of what all runs share: files that have changed make another study.

        `make` lints and hashes. Raises `Failure` where Optuna is missing or the study cannot be written.
        """
        self.jobs: list[Job] = []
        self.proposed: Callable[[Sequence[Job]], None] = lambda jobs: None
        self._space, self._make, self._say = space, make, say
        seeds = space.grid.seeds if len(space.grid.seeds) > 1 else ()
        self._seeds = [[Choice(f"{SEED}={seed}", {SEED: seed})] for seed in seeds] or [[]]
        self._most = max((space.grid.max_runs or 1) // len(self._seeds), 1)
        self._known: set[str] = set()
        self._open: dict[int, _Open] = {}
        self._unmeasured = False
        self._over = False
        whole = hashlib.sha256(f"{axes_fit.fingerprint(space)}{fingerprint}".encode()).hexdigest()
        self._study = open_study(folder, f"{PREFIX}{whole[:16]}", space.grid.metric.goal)
        if not self._study.get_trials(deepcopy=False):
            self._begin(folder)
        self._again = iter(self._study.get_trials())

    @property
    def runs(self) -> int:
        """How many runs the search is going to train; it ends before `max_runs` where no more points are found."""
        return len(self.jobs) if self._over else self._most * len(self._seeds)

    def take(self, count: int) -> Sequence[Job]:
        """Return the jobs of earlier trials first, then of new proposals; at least `count` while there are any."""
        taken: list[Job] = []
        while len(taken) < count:
            more = self._earlier() or self._propose()
            if not more:
                break
            taken += more
        self._over = not taken
        self.proposed(self.jobs)
        return taken

    def told(self, outcome: Outcome) -> None:
        """Tell the study how a trial went when all its runs have ended: the mean of the metric."""
        trial = self._open[outcome.run.index]
        trial.outcomes.append(outcome)
        if len(trial.outcomes) < trial.runs or any(one.status in ("FAILED", "KILLED") for one in trial.outcomes):
            return
        from optuna.trial import TrialState  # noqa: PLC0415 -- see study.py

        metric = self._space.grid.metric.name
        value = fmean(one.metrics.get(metric, math.nan) for one in trial.outcomes)
        if not math.isfinite(value):
            if not self._unmeasured:
                self._unmeasured = True
                self._say(f"{outcome.run.name} has no {metric}: from such runs the search learns nothing")
            self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        elif any(one.status == "PRUNED" for one in trial.outcomes):
            self._report(trial.number, value)
            self._study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self._study.tell(trial.number, value, skip_if_finished=True)

    def _report(self, number: int, value: float) -> None:
        """Say what a trial had reached that was cut short: TPE ranks those behind the whole ones, by this."""
        import optuna  # noqa: PLC0415 -- see study.py

        trial = self._study.get_trials(deepcopy=False)[number]
        if not trial.state.is_finished():
            optuna.Trial(self._study, trial._trial_id).report(value, 1)

    def _earlier(self) -> Sequence[Job]:
        """Return the jobs of the next trial that was proposed before this start."""
        for trial in self._again:
            attributes = trial.user_attrs
            if REFUSED in attributes:
                continue
            if VALUES not in attributes:  # killed between asking and noting
                self._study.tell(trial.number, state=_fail(), skip_if_finished=True)
                continue
            if EARLIER in attributes:
                self._known.update(attributes[IDENTITIES])
                continue
            try:
                found = fit(self._space, attributes[VALUES])
                choices = [one.choice for one in found] if found is not None else [choice(attributes[VALUES])]
                return self._jobs(trial.number, choices)
            except Refused as refusal:
                self._say(f"an earlier run is left out: {refusal}")
        return ()

    def _propose(self) -> Sequence[Job]:
        """Return the jobs of a new point; none where the search is over."""
        trials = self._study.get_trials(deepcopy=False)
        counted = [one for one in trials if one.user_attrs.keys() & {REFUSED, EARLIER} == set()]
        if len([one for one in counted if VALUES in one.user_attrs]) >= self._most:
            return ()
        for one in trials:  # those of another process that searches here too
            self._known.update(one.user_attrs.get(IDENTITIES, ()))
        why = ""
        for attempt in range(MOST_REFUSED):
            trial = self._asked(len(trials) + attempt, at_random=attempt >= PATIENT)
            choices = list(self._suggested(trial))
            try:
                jobs = self._jobs(trial.number, choices, trial)
            except Refused as refusal:
                why = str(refusal)
                trial.set_user_attr(REFUSED, why)
                self._study.tell(trial, state=_fail())
            else:
                return jobs
        self._say(f"{MOST_REFUSED} proposals in a row cannot be trained, the last one because {why}; the search ends")
        return ()

    def _asked(self, number: int, *, at_random: bool) -> "Trial":
        """Ask the study for a trial. Its draws depend on its number alone: a restarted sweep proposes the same."""
        from optuna.samplers import RandomSampler, TPESampler  # noqa: PLC0415 -- see study.py

        seed = int(hashlib.sha256(f"{self._space.grid.seed}:{number}".encode()).hexdigest()[:8], 16)
        startup = min(max(self._most // 4, 4), 10)
        self._study.sampler = RandomSampler(seed=seed) if at_random else TPESampler(n_startup_trials=startup, seed=seed)
        return self._study.ask()

    def _suggested(self, trial: "Trial") -> Iterator[Choice]:
        """Yield what the sampler chooses for each axis whose condition holds."""
        values = dict(self._space.shared)
        for axis in self._space.varied:
            if axis.when is not None and not holds(axis, values):
                continue
            one = suggested(trial, axis)
            values.update(one.values)
            yield one

    def _jobs(self, number: int, choices: Sequence[Choice], trial: "Trial | None" = None) -> Sequence[Job]:
        """Make the jobs of a trial, one for each seed. Raises `Refused`; a new trial is noted."""
        grid, shared = self._space.grid, self._space.shared
        runs: list[PlannedRun] = []
        for seed in self._seeds:
            point = point_of(grid, shared, [*choices, *seed])
            if excluded(grid, shared, point):
                raise Refused("the grid excludes it")
            runs.append(self._space.run(len(self.jobs) + len(runs), point.labels, point))
        jobs = self._make(runs)
        identities = [job.identity for job in jobs]
        if trial is not None:
            if self._known.issuperset(identities):
                raise Refused("it was tried already")
            trial.set_user_attr(IDENTITIES, identities)
            trial.set_user_attr(VALUES, merged(choices))
        self._known.update(identities)
        self.jobs += jobs
        opened = _Open(number, len(jobs))
        self._open.update({job.run.index: opened for job in jobs})
        return jobs

    def _begin(self, folder: Path) -> None:
        """Start a new study with what earlier ones of this folder know that fits, and with the included points."""
        metric = self._space.grid.metric
        self._study.set_user_attr(METRIC, f"{metric.goal} {metric.name}")
        kept = self._kept(folder)
        for values in self._space.grid.include:
            self._add(fit(self._space, values) or (), {VALUES: values, IDENTITIES: []})
        if kept is not None:
            learned, left = kept
            self._say(f"the space has changed: the search begins with {learned} earlier runs that fit, {left} do not")

    def _kept(self, folder: Path) -> tuple[int, int] | None:
        """Take over the finished trials of other studies; return how many, and how many do not fit. None: no other."""
        from optuna.trial import TrialState  # noqa: PLC0415 -- see study.py

        others = [one for one in studies(folder, PREFIX) if one.study_name != self._study.study_name]
        seen: set[tuple[str, ...]] = set()
        left = 0
        for study in others:
            same_metric = study.user_attrs.get(METRIC) == self._study.user_attrs[METRIC]
            for trial in study.get_trials(states=(TrialState.COMPLETE,)):
                identities = tuple(trial.user_attrs.get(IDENTITIES, ()))
                if identities in seen:
                    continue
                seen.add(identities)
                fitting = fit(self._space, trial.user_attrs[VALUES]) if same_metric else None
                if fitting is None or not self._is_still(fitting, identities):
                    left += 1
                    continue
                self._known.update(identities)
                attributes = {VALUES: trial.user_attrs[VALUES], IDENTITIES: list(identities), EARLIER: True}
                self._add(fitting, attributes, trial.value)
        return (len(seen) - left, left) if seen else None

    def _is_still(self, fitting: Sequence[Fitting], identities: tuple[str, ...]) -> bool:
        """Return whether a point comes to the same runs as before."""
        jobs_before, open_before, known_before = list(self.jobs), dict(self._open), set(self._known)
        try:
            found = self._jobs(-1, [one.choice for one in fitting])
        except Refused:
            return False
        finally:
            self.jobs, self._open, self._known = jobs_before, open_before, known_before
        return tuple(job.identity for job in found) == identities

    def _add(self, fitting: Sequence[Fitting], attributes: Mapping[str, object], value: float | None = None) -> None:
        """Add a trial that the sampler did not propose: finished where it has a value, else open."""
        from optuna.trial import TrialState, create_trial  # noqa: PLC0415 -- see study.py

        trial = create_trial(
            state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
            value=value,
            params={axes_fit.axis_name(one.axis): one.parameter for one in fitting},
            distributions={axes_fit.axis_name(one.axis): axes_fit.distribution_of(one.axis) for one in fitting},
            user_attrs=dict(attributes),
        )
        self._study.add_trial(trial)


def _fail() -> "TrialState":
    from optuna.trial import TrialState  # noqa: PLC0415 -- see study.py

    return TrialState.FAIL
