"""The page: whole in itself, true, and never what a run's name says."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, browser
from click.testing import CliRunner
from made_runs import Made, make_sweep, seeded
from PIL import Image

from lora_lab.cli.compare import command
from lora_lab.compare.comparison import Question, compare
from lora_lab.compare.markup import markup, node, raw
from lora_lab.compare.report import make_report
from lora_lab.compare.report_data import CURVES
from lora_lab.compare.report_pictures import choose_pictures
from lora_lab.failure import Failure

HOSTILE = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>&amp;\x1b[2J\u202e\x00</style>"
FINDING = [{"code": "LL1", "severity": "warning", "message": HOSTILE, "remedy": "<b>mend</b>"}]


def report_of(folder: Path, budget: int = 6_000_000) -> str:
    """Return the page of a sweep."""
    return make_report(compare([folder], Question(curves=CURVES)), "today", budget).html


def data_of(page: str) -> dict[str, object]:
    """Return what the page's script gets."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


class Tags(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take down an element."""
        self.found.append((tag, dict(attrs)))


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """Return a sweep of two ranks and two seeds, each run with pictures of two prompts at two steps."""
    draw = tmp_path / "drawn"
    draw.mkdir()
    runs = []
    for place, run in enumerate([*seeded(4, 0.300, 0.304), *seeded(8, 0.198, 0.202)]):
        shown = []
        for step in (10, 20):
            for prompt in (0, 1):
                path = draw / f"{place}-{step}-{prompt}.png"
                Image.effect_noise((300, 200), 60 + place).convert("RGB").save(path)
                shown.append((step, f"sample_{prompt:02d}", path))
        values = {"sample_prompts": ["a cat", "a dog"]}
        tags = {"lora_lab.version": "0.1.0", "lora_lab.device": f"GPU {place % 2}"}
        runs.append(replace(run, pictures=shown, values=values, tags=tags, findings=json.dumps(FINDING)))
    return make_sweep(tmp_path, runs, "cats")


def test_the_page_has_every_part_and_needs_nothing_else(pictured: Path) -> None:
    """All sections are there, and no element names another file or address."""
    page = report_of(pictured)
    for title in ("Best settings", "Runs", "Curves", "Parameters and result", "What mattered", "Pictures", "Settings"):
        assert f"<h2>{title}</h2>" in page
    assert "GPU 0 (run3, run1)" in page
    assert f"lora-lab best {pictured}/run3 -o best.json" in page
    assert "0.2000 ± 0.0028" in page
    tags = Tags()
    tags.feed(page)
    addresses = [one[key] for _, one in tags.found for key in ("src", "href", "action", "data") if one.get(key)]
    assert addresses
    assert [one for one in addresses if not str(one).startswith("#")] == []
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    data = data_of(page)
    assert len(data["images"]) == 16
    assert data["prompts"] == [["sample_00", "sample_00: a cat"], ["sample_01", "sample_01: a dog"]]
    assert [run["value"] for run in data["runs"]] == [0.198, 0.202, 0.3, 0.304]
    assert data["runs"][0]["curves"]["val_loss"] == [[0, 1.0], [10, 0.19008], [20, 0.198]]


def test_the_policy_allows_its_own_script_and_style_only(pictured: Path) -> None:
    """The hashes in the policy are those of what stands in the page; nothing is allowed inline."""
    page = report_of(pictured)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert policy is not None
    rules = html.unescape(policy[1])
    assert rules.startswith("default-src 'none'")
    assert "unsafe" not in rules
    for kind in ("script", "style"):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert text is not None
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in rules


def hostile_sweep(tmp_path: Path) -> Path:
    """Return a sweep in which everything that people write is hostile."""
    made = Made(
        axes={"caption_prefix": HOSTILE, "net_dim": 8},
        val_loss={0: 1.0, 10: 0.5},
        name=HOSTILE,
        findings=json.dumps([{"code": HOSTILE, "severity": HOSTILE, "message": HOSTILE, "remedy": HOSTILE}]),
        tags={"lora_lab.device": HOSTILE, "lora_lab.packages": HOSTILE},
        values={"sample_prompts": [HOSTILE], "training_comment": HOSTILE},
        judged_on="base=1",
    )
    broken = replace(made, status="FAILED", reason=HOSTILE, axes={"caption_prefix": "x", "net_dim": 4})
    other = replace(made, judged_on=f"base=2 {HOSTILE}", axes={"caption_prefix": HOSTILE[::-1], "net_dim": 2})
    folder = make_sweep(tmp_path, [made, broken, other], "plain")
    record = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**record, "name": HOSTILE}))
    record = json.loads((folder / "run2" / "run.json").read_text())
    (folder / "run2" / "run.json").write_text(json.dumps({**record, "reason": f"{HOSTILE}\ud800"}))
    strange = folder.with_name("a '\"<b>&folder")
    folder.rename(strange)
    return strange


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Whatever a run, caption or folder is called: no element, attribute or script comes of it."""
    page = report_of(hostile_sweep(tmp_path))
    assert "alert(1)" in page
    assert re.search(r"<script>alert|<img src=x|[\x00\x1b\u202e\ud800]", page) is None
    tags = Tags()
    tags.feed(page)
    names = [name for name, _ in tags.found]
    assert (names.count("script"), names.count("style"), names.count("img"), names.count("b")) == (2, 1, 0, 0)
    assert not any(key.startswith("on") for _, attributes in tags.found for key in attributes)
    page.encode("utf-8")


def test_terminal_and_tables_survive_hostile_names(tmp_path: Path) -> None:
    """The text, JSON and CSV are printed too; no control character reaches the terminal."""
    folder = str(hostile_sweep(tmp_path))
    text = CliRunner().invoke(command, [folder], standalone_mode=False, catch_exceptions=False).output
    assert re.search(r"[\x00\x1b\u202e]", text) is None
    assert "alert(1)" in text
    for form in ("--json", "--csv"):
        assert CliRunner().invoke(command, [folder, form], standalone_mode=False, catch_exceptions=False).output


def test_a_script_can_not_be_ended_from_inside() -> None:
    """Texts that HTML takes as they are may not hold an end tag; all others are escaped."""
    with pytest.raises(ValueError, match="could end"):
        raw("script", "a</script>")
    assert markup(node("p", "<b>", node("i", "x"), "&")) == "<p>&lt;b&gt;<i>x</i>&amp;</p>"


def test_pictures_keep_within_their_budget(pictured: Path, tmp_path: Path) -> None:
    """The best runs' last pictures come first; the page says how many there are; none from outside is taken."""
    runs = compare([pictured], Question()).runs
    whole = choose_pictures(runs, 10_000_000)
    assert (len(whole.urls), whole.known) == (16, 16)
    few = choose_pictures(runs, whole.size // 4)
    assert 0 < few.size <= whole.size // 4
    assert all(steps.keys() == {20} for keys in few.places.values() for steps in keys.values())
    assert "of 16 pictures are in this page" in report_of(pictured, whole.size // 4)
    elsewhere = [replace(run, folder=tmp_path.parent / "x" / "y" / run.folder.name) for run in runs]
    assert choose_pictures(elsewhere, 10_000_000).urls == []


def test_the_command_writes_the_page(pictured: Path, tmp_path: Path) -> None:
    """`--html` writes it beside the table; a place that can't be written is one line."""
    page = tmp_path / "report.html"
    result = CliRunner().invoke(command, [str(pictured), "--html", str(page)], standalone_mode=False)
    assert "report.html: 0." in result.stderr
    assert "16 of 16 pictures" in result.stderr
    assert page.read_text().startswith("<!doctype html>")
    nowhere = str(tmp_path / "no" / "r.html")
    with pytest.raises(Failure, match="cannot be written"):
        CliRunner().invoke(command, [str(pictured), "--html", nowhere], standalone_mode=False, catch_exceptions=False)


@pytest.mark.chromium
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
def test_in_a_browser_the_page_answers(pictured: Path, tmp_path: Path) -> None:
    """Curves and lines answer to the pointer, rows to a click; wide or narrow, light or dark, nothing sticks out."""
    report = tmp_path / "report.html"
    report.write_text(report_of(pictured), encoding="utf-8")
    hostile = tmp_path / "hostile.html"
    hostile.write_text(report_of(hostile_sweep(tmp_path / "h")), encoding="utf-8")
    with browser(tmp_path / "profile") as page:
        for width, scheme in ((1280, "light"), (390, "dark")):
            page.look_like(width, 900, scheme)
            page.open(report)
            assert page.value("document.documentElement.scrollWidth") <= width
            assert page.value("document.querySelectorAll('#curves path.line').length") == 4
            assert page.value("document.querySelectorAll('#pictures img').length") == 8
            page.value("document.getElementById('pictures').scrollIntoView()")
            page.wait_for("document.querySelector('#pictures img').naturalWidth === 160")
            for chart in ("curves", "parallel"):
                page.value(f"document.getElementById('{chart}').scrollIntoView()")
                where = page.value(
                    f"(() => {{ const b = document.querySelector('#{chart} svg').getBoundingClientRect();"
                    " return [b.left + 120, b.top + b.height / 2]; })()"
                )
                page.point_at(*where)
                page.wait_for("!document.getElementById('tip').hidden")
                told = page.value("document.getElementById('tip').innerText")
                assert re.search(r"^run\d: net_dim=\d test_seed=\d\n(.*\n)*val_loss (at the end: )?0\.\d+", told), told
                assert page.value("document.querySelectorAll('path.line.on').length") == 2
                page.point_at(2, 2)
                page.wait_for("document.getElementById('tip').hidden")
        page.value("document.querySelectorAll('#runs tbody tr')[2].click()")
        assert "net_dim\t4\t8" in page.value("document.getElementById('chosen').innerText")
        page.value("document.querySelector('#runs thead button').click()")
        first = page.value("document.querySelector('#runs tbody tr td').innerText")
        assert first.strip() == "run1"
        page.value("(() => { const s = document.getElementById('curve-metric'); s.value = 'loss'; s.onchange(); })()")
        assert page.value("document.querySelectorAll('#curves path.line').length") == 4
        page.open(hostile)
        assert page.value("document.images.length") == 0
        assert "<script>alert(1)</script>" in page.value("document.body.innerText")
        assert page.problems == []
        assert {url.partition(":")[0] for url in page.requests} <= {"file", "data", "about"}
