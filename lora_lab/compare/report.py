"""One page that holds everything about some runs: no network, no other file, nothing that a run's name could do to it.

The charts are own SVG: Plotly, which has all kinds of them, makes every page 3.5 MB larger and wants inline styles that
the page's policy forbids; uPlot (50 KB) has no parallel coordinates; both would be a copy that nobody updates.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from lora_lab.compare import report_sections as sections
from lora_lab.compare.comparison import Comparison
from lora_lab.compare.markup import markup, node, raw
from lora_lab.compare.report_data import Ordered, ordered, script_data
from lora_lab.compare.report_pictures import Shown, choose_pictures
from lora_lab.compare.words import sentences

MEGABYTE = 1_000_000
PICTURES = 6 * MEGABYTE
"""Bytes of embedded pictures, unless somebody asks for more."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Report:
    """A page, and how many of how many pictures are in it."""

    html: str
    pictures: int
    known_pictures: int


def make_report(found: Comparison, made: str, budget: int = PICTURES) -> Report:
    """Return the page of a comparison; `made` says when, `budget` limits the bytes of the pictures in it."""
    order = ordered(found)
    pictures = choose_pictures(order.runs, budget)
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    names = list(dict.fromkeys(run.sweep or run.folder.name for run in order.runs))
    title = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="referrer", content="no-referrer"),
        node("title", f"{title}: {len(order.runs)} runs"),
        raw("style", style),
    )
    body = node(
        "body",
        *_top(found, title, made),
        *_body(found, order, pictures, budget),
        node("div", id="tip", hidden="hidden"),
        raw("script", script_data(found, order, pictures), type="application/json", id="data"),
        raw("script", script),
    )
    page = "<!doctype html>\n" + markup(node("html", head, body, lang="en")) + "\n"
    return Report(page, len(pictures.urls), pictures.known)


def _policy(style: str, script: str) -> str:
    """Return what the browser may do with the page: run its own script and style, known by their hashes; no more."""
    rules = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _top(found: Comparison, title: str, made: str) -> Iterator[Element]:
    first, *rest = [line.strip() for line in sentences(found)]
    count = len(found.runs)
    yield node("h1", title)
    yield node("p", f"{count} run{'s' * (count != 1)}, compared by {found.metric}; made {made}", class_="quiet")
    yield node("p", node("strong", first), class_="lead")
    for line in rest:
        yield node("p", line)
    for letter, reason in found.comparable.reasons.items():
        yield node("p", f"Runs judged as {letter} do not compare with those judged as A: {reason}.", class_="warn")
    yield node("noscript", node("p", "The charts and pictures need JavaScript; the tables do not.", class_="warn"))


def _body(found: Comparison, order: Ordered, pictures: Shown, budget: int) -> Iterator[Element]:
    curves = any(run.curves.get(name) for run in order.runs for name in run.curves)
    parts: list[tuple[str, str, Sequence[Element]]] = [
        ("Best settings", "best", list(sections.settings_table(found))),
        ("Runs", "all-runs", [sections.runs_table(found, order), node("div", id="chosen", class_="panel")]),
        ("Curves", "over-steps", _curves() if curves else []),
        ("Parameters and result", "parameters", _parallel(found) if found.columns and found.best is not None else []),
        ("What mattered", "mattered", list(sections.bars(found)) if found.shares else []),
        ("Pictures", "samples", _pictures(pictures, budget)),
        ("Settings", "settings", list(sections.differences(order))),
        ("Lint", "lint", list(sections.findings(order))),
        ("Where it was trained", "environment", list(sections.environment(order))),
        ("Train the best again", "again", list(sections.again(found))),
    ]
    shown = [(title, name, content) for title, name, content in parts if content]
    yield node("nav", [node("a", title, href=f"#{name}") for title, name, _ in shown])
    for title, name, content in shown:
        yield node("section", node("h2", title), *content, id=name)


def _curves() -> list[Element]:
    return [
        node(
            "div",
            node("label", "metric ", node("select", id="curve-metric")),
            node(
                "label",
                "runs ",
                node(
                    "select",
                    node("option", "the 8 best", value="best"),
                    node("option", "all", value="all"),
                    id="curve-which",
                ),
            ),
            node("label", node("input", type="checkbox", id="curve-log"), " logarithmic"),
            class_="controls",
        ),
        node("div", id="curves", class_="wide"),
        node(
            "p",
            "Long curves are drawn through the means of short stretches; the band is from the smallest to the greatest "
            "value. Point at a curve to read it, click to see what is special about its run.",
            class_="quiet",
        ),
    ]


def _parallel(found: Comparison) -> list[Element]:
    said = f"A line for each run; the bluest fifth has the best {found.metric}, which is at the top."
    return [node("div", id="parallel", class_="wide"), node("p", said, class_="quiet")]


def _pictures(pictures: Shown, budget: int) -> list[Element]:
    if not pictures.known:
        return []
    all_here = len(pictures.urls) == pictures.known
    rest = "the originals" if all_here else "the others, and the originals,"
    said = f"{len(pictures.urls)} of {pictures.known} pictures are in this page as small copies"
    said += f" ({pictures.size / MEGABYTE:.1f} MB of at most {budget / MEGABYTE:g}); {rest} lie in the runs' folders."
    if not pictures.urls:
        return [node("p", "No picture could be read: they are gone, or Pillow is not installed.", class_="quiet")]
    prompt = node("label", "prompt ", node("select", id="picture-prompt"))
    return [
        node("div", prompt, class_="controls"),
        node("div", id="pictures", class_="wide tall"),
        node("p", said, class_="quiet"),
    ]
