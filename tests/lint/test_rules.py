"""Every rule is what its page says."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_lab.config import PARAMETERS
from lora_lab.lint import RULES, LintResult, Rule
from lora_lab.lint import rules as rules_package
from lora_lab.lint.rule import HEADINGS

Judge = Callable[[Rule, str], LintResult]

by_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)

HUNDREDS = {
    "0": {"sd_files", "sd_data_sets", "easy_json", "dialects", "fields", "secrets", "suppressions", "text"},
    "1": {
        "hub",
        "config_files",
        "data_paths",
        "files",
        "picture_contents",
        "data_sets",
        "picture_files",
        "folders",
        "regularisation",
    },
    "2": {
        "sd_captions",
        "caption_parts",
        "captions",
        "caption_files",
        "caption_texts",
        "caption_weights",
        "caption_words",
    },
    "3": {"sd_network", "merged", "network_blocks", "network_kinds", "network", "starting_point"},
    "4": {"sd_optimizers", "rates", "optimizers", "optimizer_arguments", "schedule", "curves"},
    "5": {"run_length", "sd_length", "steps", "saving", "samples"},
    "6": {"sd_pictures", "resolution", "augmentation", "bucket_fit", "bucket_limits", "masks"},
    "7": {"sd_precision", "precision", "model_family", "base_model", "noise_loss", "machine", "capacity"},
    "8": {"misread_numbers", "misread_switches", "misread_values"},
    "9": {"not_built"},
}


def test_there_are_rules() -> None:
    """The register is not empty, so the parametrised tests below test something."""
    assert len(RULES) >= 50


def test_codes_and_names_are_unique_and_in_order() -> None:
    """Two rules never share a code or a name, and the register is sorted."""
    codes = [rule.code for rule in RULES]
    assert codes == sorted(set(codes))
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_every_rule_of_every_file_is_registered() -> None:
    """A rule that somebody wrote and forgot to list would silently never run."""
    folder = Path(inspect.getfile(rules_package)).parent
    written = {code for path in folder.glob("*.py") for code in re.findall(r'"(LL\d{3})"', path.read_text("utf-8"))}
    assert written == {rule.code for rule in RULES}


@by_rule
def test_code_is_in_its_hundred(rule: Rule) -> None:
    """The code's first digit tells the topic, which is the file."""
    assert re.fullmatch(r"LL\d{3}", rule.code)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|syntax", rule.name)
    assert rule.check.__module__.rpartition(".")[2] in HUNDREDS[rule.code[2]]


@by_rule
def test_reads_existing_keys(rule: Rule) -> None:
    """What a rule says that it reads are keys of the config."""
    assert set(rule.reads) <= set(PARAMETERS)


@by_rule
def test_page_is_complete(rule: Rule) -> None:
    """Each page has a summary of one line, all headings but Fix, and names its source."""
    sections = rule.sections
    assert set(HEADINGS) - {"Fix"} <= set(sections)
    assert all(sections.values())
    assert "\n" not in sections[""]
    assert rule.source


@by_rule
def test_bad_fires(rule: Rule, judge: Judge) -> None:
    """The page's bad example is found, with this severity or a documented other one, with a message and a remedy."""
    found = [finding for finding in judge(rule, "Bad").findings if finding.code == rule.code]
    assert found
    for finding in found:
        assert finding.name == rule.name
        assert finding.message
        assert finding.remedy
        assert not finding.message.endswith(".")
    if rule.code != "LL001":
        assert any(finding.span is not None or rule.code == "LL006" for finding in found)


@by_rule
def test_good_does_not_fire(rule: Rule, judge: Judge) -> None:
    """The page's good example is not found, and is not an error for another reason either."""
    result = judge(rule, "Good")
    assert rule.code not in {finding.code for finding in result.findings}
    unrelated = {
        "LL010",
        "LL101",
        "LL102",
        "LL103",
        "LL107",
        "LL112",
        "LL113",
        "LL120",
        "LL612",
    }  # files that the example leaves out
    unrelated |= {"LL006"} if rule.code in {"LL001", "LL007"} else set()
    assert {f.code for f in result.findings if f.severity == "error"} <= unrelated


@by_rule
def test_check_uses_only_what_it_reads(rule: Rule) -> None:
    """Every `config.KEY` in a rule's source is among its `reads`, or it would run on an invalid value's default."""
    if rule.sees == "raw" or rule.code.startswith("LL9"):
        return
    tree = ast.parse(textwrap.dedent(inspect.getsource(rule.check)))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in PARAMETERS}
    used |= {"train_resolution"} if "config.resolution" in ast.unparse(tree) else set()
    assert used <= set(rule.reads)
