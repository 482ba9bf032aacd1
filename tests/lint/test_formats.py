"""The forms for tools have the structure that their readers ask for."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.document import parse_json
from lora_lab.lint import RULES, lint_document
from lora_lab.lint.formats import FORMATS, rendered
from lora_lab.lint.report import Judged

TEXT = (
    '{"base_model": "b", "img_folder": "i", "output_folder": "o",\n "net_dim": "8", "save_as": "pt", "flip_aug": true}'
)

PUBLISHED = Path(__file__).parent / "published"
SARIF = jsonschema.Draft4Validator(
    json.loads((PUBLISHED / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8")),
    format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER,
)
JUNIT = xmlschema.XMLSchema10(str(PUBLISHED / "junit-10.xsd"))

GITLAB = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "minLength": 1},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": r"^(?!\./|/)"},
                    "lines": {"required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}}},
                },
            },
        },
    },
}
"""The table of required properties in GitLab's documentation."""


def judged(text: str = TEXT, name: str = "a/c.json") -> Judged:
    """Lint a text without the disk."""
    document = parse_json(text)
    return Judged(name, document.text, lint_document(document, None).findings)


def check_form(form: str, report: str) -> None:
    """Compare a report with what its readers published."""
    if form == "junit":
        JUNIT.validate(report)
    elif form == "sarif":
        SARIF.validate(json.loads(report))
    elif form == "gitlab":
        jsonschema.validate(json.loads(report), GITLAB)
    elif form == "github":
        assert all(COMMAND.fullmatch(line) for line in report.split("\n"))
    else:
        assert json.loads(report).keys() == {"findings"}


COMMAND = re.compile(r"::(error|warning|notice) file=[^,:\r\n]+,title=[^,:\r\n]+(,line=\d+,col=\d+)?::[^\r\n]+")
"""A workflow command: no sign that ends a property, and a percent sign only as the start of an escape."""


def test_the_schemas_can_say_no() -> None:
    """A report with a mistake is refused, so the checks check something."""
    log = json.loads(rendered("sarif", [judged()]))
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not SARIF.is_valid(log)
    report = rendered("junit", [judged()])
    assert JUNIT.is_valid(report)
    assert not JUNIT.is_valid(report.replace(" type=", " kind="))
    assert not JUNIT.is_valid(report.replace(' name="a/c.json"', ""))


def test_sarif_has_the_published_structure() -> None:
    """Every result refers to its rule by index and id, with level and place; the log fits what the schema demands."""
    log = json.loads(rendered("sarif", [judged(), judged("{}", "b ü.json")]))
    SARIF.validate(log)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(rules) == len(RULES)
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [r["ruleId"] for r in run["results"]]
    first = run["results"][0]
    assert (first["ruleId"], first["level"]) == ("LL003", "error")
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a/c.json"
    region = place["region"]
    assert TEXT[region["charOffset"] : region["charOffset"] + region["charLength"]] == '"8"'
    assert (region["startLine"], region["startColumn"]) == (2, 13)
    last = run["results"][-1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert last == "b%20%C3%BC.json"


def test_gitlab_has_the_documented_structure() -> None:
    """Required properties, severities that GitLab knows, and no two fingerprints alike."""
    issues = json.loads(rendered("gitlab", [judged(), judged(TEXT + "}" * 3, "b.json"), judged()]))
    jsonschema.validate(issues, GITLAB)
    assert [issue["severity"] for issue in issues[:3]] == ["major", "minor", "info"]
    prints = [issue["fingerprint"] for issue in issues]
    assert len(set(prints)) == len(prints) >= 9
    moved = json.loads(rendered("gitlab", [judged("\n\n" + TEXT)]))
    assert [issue["fingerprint"] for issue in moved] == prints[:3]


def test_github_commands() -> None:
    """One command a line; colons and commas of a path are escaped."""
    lines = rendered("github", [judged(name="a,b:c%.json")]).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("::error file=a%2Cb%3Ac%25.json,title=LL003 wrong-type,line=2,col=13::net_dim must be")
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]


def test_github_text_is_escaped() -> None:
    """Percent signs, colons and commas of a path become what the runner turns back; no line end breaks a command."""
    finding = replace(judged().findings[0], message="50% of a:b, c\nd", remedy="", span=None)
    text = rendered("github", [Judged("50%,\r\n:x.json", "", (finding,))])
    assert (
        text == "::error file=50%25%2C%0D%0A%3Ax.json,title=LL003 wrong-type::50%25 of a:b, c\N{REPLACEMENT CHARACTER}d"
    )


def test_junit_counts_what_it_lists() -> None:
    """Suites, tests and failures; a clean file is one test that passes."""
    root = ET.fromstring(
        rendered("junit", [judged(), judged('{"base_model": "b", "img_folder": "i", "output_folder": "o"}')])
    )
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "4", "2")
    suites = root.findall("testsuite")
    assert [suite.get("tests") for suite in suites] == ["3", "1"]
    for suite in suites:
        assert {"name", "tests", "failures", "errors"} <= set(suite.keys())
        cases = suite.findall("testcase")
        assert str(len(cases)) == suite.get("tests")
        assert all(case.get("name") and case.get("classname") for case in cases)
        failures = [case.find("failure") for case in cases]
        assert str(sum(one is not None for one in failures)) == suite.get("failures")


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_found(form: str) -> None:
    """No file and no finding are a valid report too."""
    for files in ([], [Judged("c.json", "{}", ())]):
        text = rendered(form, files)
        if form == "github":
            assert text == ""
        else:
            check_form(form, text)


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=20), st.text(min_size=1, max_size=10))
def test_any_text_gives_valid_reports(text: str, name: str) -> None:
    """Whatever a file and its name hold, the reports keep to what their readers published."""
    one = judged('{"net_dim": "8", "' + text + '": 1, "save_as": "' + text, name)
    for form in FORMATS:
        report = rendered(form, [one])
        check_form(form, report)
