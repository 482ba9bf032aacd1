"""Curves and shares as PNG files, drawn with matplotlib, which comes with MLflow; without it there are no figures."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_lab.whole_files import write_whole

DOTS_PER_INCH = 110
MOST_CURVES = 20

Curve = Sequence[tuple[int, float]]


def draw_curves(curves: Mapping[str, Curve], metric: str, path: Path) -> bool:
    """Draw a metric over the steps, a line for each run, the first 20; say whether the file was written."""
    shown = {name: curve for name, curve in list(curves.items())[:MOST_CURVES] if curve}
    if not shown or (figure := _figure(9, 5)) is None:
        return False
    axes = figure.add_subplot(xlabel="step", ylabel=metric, title=metric)
    for name, curve in shown.items():
        axes.plot(
            [step for step, _ in curve], [value for _, value in curve], label=name.replace("$", r"\$"), linewidth=1.2
        )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return _save(figure, path)


def draw_shares(shares: Mapping[str, float], metric: str, path: Path) -> bool:
    """Draw which part of a metric's variance each parameter explains; say whether the file was written."""
    if not shares or (figure := _figure(7, 1.2 + 0.4 * len(shares))) is None:
        return False
    names = list(shares)[::-1]
    title = f"what mattered for {metric} (omega squared)"
    axes = figure.add_subplot(xlabel="part of the variance that it explains by itself", title=title, xlim=(0, 1))
    bars = axes.barh(names, [shares[name] for name in names])
    axes.bar_label(bars, [f"{shares[name]:.0%}" for name in names], padding=3)
    return _save(figure, path)


def _figure(width: float, height: float) -> Any:
    """Return an empty figure (inches), apart from pyplot's, which is no thread's own; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def _save(figure: Any, path: Path) -> bool:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    except OSError:
        return False
    return True
