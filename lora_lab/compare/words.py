"""What a comparison means, in sentences."""

import math
from collections.abc import Iterator

from lora_lab.compare.comparison import Comparison, Row, is_measured
from lora_lab.compare.noise import Spread
from lora_lab.sweep.comparable import OF_THE_VALIDATION
from lora_lab.sweep.grid import label

OWN_LOSS = frozenset({"loss", "epoch_loss"})
"""What a run trains on: other losses and noise make other numbers of it."""

MOST_LETTERS = 40
"""Of a value in a setting's name."""


def rounded(value: float) -> str:
    """Return a number with the digits that tell runs apart."""
    return f"{value:.5g}"


def with_spread(found: Spread) -> str:
    """Return a mean with its standard deviation, where there is one, with as many decimals as that has meaning."""
    if found.sd is None:
        return rounded(found.mean)
    if not found.sd or not math.isfinite(found.sd):
        return f"{rounded(found.mean)} ± {found.sd:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(found.sd)))
    if decimals > 8:
        return f"{rounded(found.mean)} ± {found.sd:.2g}"
    return f"{found.mean:.{decimals}f} ± {found.sd:.{decimals}f}"


def setting_name(found: Comparison, row: Row) -> str:
    """Return what a row is called: the values that make it differ, else its run's name."""
    values = " ".join(f"{name}={_short(row.values[name])}" for name in found.columns if name in row.values)
    return values or row.runs[0].name


def _short(value: object) -> str:
    text = label(value)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def sentences(found: Comparison) -> Iterator[str]:
    """Yield what is to be known: the best setting, by how much, against which noise, and what mattered."""
    best = found.best
    if best is None or best.spread is None:
        yield f"no run has finished with a {found.metric}: nothing can be ranked"
        if found.metric in OF_THE_VALIDATION and not any(is_measured(run, found.metric) for run in found.runs):
            yield "  set validation_split to 0.1 or so, and pictures are held out to measure it"
        return
    among = "" if found.comparable.all_alike else ", of the runs in A"
    several = f", the mean of {best.spread.n} {'runs' if found.averaged else 'seeds'}" if best.spread.n > 1 else ""
    yield f"best: {setting_name(found, best)}: {found.metric} {with_spread(best.spread)}{several}{among}"
    yield from _lead(found, best)
    if found.averaged:
        yield f"  averaged over {', '.join(found.averaged)}: the spread is theirs too, not of the seeds alone"
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    if shares:
        yield f"what mattered for {found.metric} (part of its variance): {shares}"
    for letter, reason in found.comparable.reasons.items():
        count = found.comparable.letters.count(letter)
        yield f"{count} run{'s' * (count > 1)} in {letter} not ranked with A: {reason}"
    if found.metric in OWN_LOSS:
        yield f"{found.metric} is what each run trains on: other losses, noise or batches make other numbers of it"


def _lead(found: Comparison, best: Row) -> Iterator[str]:
    """Yield how far the best is ahead, and whether that is more than chance."""
    others = [row for row in found.rows if row.letter == "A" and row is not best]
    if not others or others[0].behind is None or others[0].spread is None or best.spread is None:
        return
    lead = abs(others[0].behind)
    part = f" ({lead / abs(others[0].spread.mean):.1%})" if others[0].spread.mean else ""
    ahead = f"  {lead:.2g}{part} better than the next, {setting_name(found, others[0])}"
    if found.noise is None:
        yield f"{ahead}; no setting has two seeds, so how much of it is chance nobody knows (seeds: [1, 2, 3] tells)"
        return
    margin = found.noise.margin(best.spread, others[0].spread)
    chance = "the runs that are averaged" if found.averaged else "the seeds"
    if others[0].within:
        yield f"{ahead}: within the noise of {chance} (± {margin:.2g}), so which of them is better is not known"
    else:
        yield f"{ahead}: more than the noise of {chance} makes (± {margin:.2g})"
    equal = sum(bool(row.within) for row in others)
    if equal:
        yield f"  ~ marks the {equal} setting{'s' * (equal > 1)} that the noise does not tell from the best"
