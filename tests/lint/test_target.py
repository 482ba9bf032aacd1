"""A file judged for the trainer that will read it: what is true of that, in the file's words, and nothing of ours."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lora_lab.cli import group
from lora_lab.document.dialects import decode_config
from lora_lab.lint import RULES, Finding, Target, lint_document
from lora_lab.lint.settings import settings_for

KOHYA = """pretrained_model_name_or_path = "base.safetensors"
train_data_dir = "img"
enable_bucket = true
caption_extension = ".txt"
network_dim = 16
network_alpha = 8
learning_rate = 1e-4
lr_scheduler = "constant"
lr_warmup_steps = 100
max_train_epochs = 10
max_train_steps = 1600
"""


def judged(text: str, target: Target, name: str = "config.toml") -> list[Finding]:
    """Lint a text as the file of that name would be."""
    return list(lint_document(decode_config(text.encode(), Path(name)), None, target).findings)


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(group, ["lint", "--no-machine", *arguments])


def test_its_own_words_and_places() -> None:
    """A finding for sd-scripts names the file's key and points at the value in the text."""
    found = {one.code: one for one in judged(KOHYA, "sd-scripts")}
    assert {"LL451", "LL550"} <= found.keys()
    warmup = found["LL451"]
    assert warmup.severity == "error"
    assert warmup.keys[0] == "lr_warmup_steps"
    assert warmup.span is not None
    assert KOHYA[warmup.span.start : warmup.span.end] == "100"


@pytest.mark.parametrize("target", ["lora_lab", "sd-scripts", "easy"])
def test_only_rules_of_the_trainer_speak(target: Target) -> None:
    """Whatever the file, each finding's rule is one of the trainer's."""
    rules = {rule.code: rule.targets for rule in RULES}
    own = json.dumps({"base_model": "b.ckpt", "img_folder": "i", "output_folder": "o", "clip_skip": None, "xyz": 1})
    for text, name in ((KOHYA, "config.toml"), (own, "config.json")):
        findings = judged(text, target, name)
        assert findings or target != "lora_lab"
        assert all(target in rules[one.code] for one in findings)


def test_what_is_not_built_is_ours_alone() -> None:
    """No LL9xx is true of another trainer, and each trainer has rules of its own."""
    assert all(rule.targets == ("lora_lab",) for rule in RULES if rule.code.startswith("LL9"))
    assert sum("lora_lab" not in rule.targets for rule in RULES) >= 60


def test_no_fixes_for_another_trainer() -> None:
    """A fix is made for our trainer; another may take its result otherwise."""
    assert any(one.fix for one in judged(KOHYA, "lora_lab"))
    assert not any(one.fix for one in judged(KOHYA, "sd-scripts"))


def test_one_value_is_blamed_once() -> None:
    """A limit of ours is not told beside the other trainer's own."""
    findings = judged(KOHYA + "max_token_length = 255\nbucket_reso_steps = 1\n", "sd-scripts")
    spans = [one.span for one in findings if one.code in {"LL004", "LL005", "LL255", "LL650", "LL812", "LL815"}]
    assert len(spans) == len(set(spans)) == 2


def test_the_command_and_the_settings_say_it(tmp_path: Path) -> None:
    """`--target` and `target =` in the settings are the same; the command line wins."""
    config = tmp_path / "config.toml"
    config.write_text(KOHYA)
    arguments = ("--no-disk", str(config))
    assert "LL451" not in run(*arguments).output
    assert "LL451 error" in run(*arguments, "--target", "sd-scripts").output
    (tmp_path / "lora-lab.toml").write_text('target = "sd-scripts"\n')
    assert settings_for(tmp_path).target == "sd-scripts"
    assert "LL451 error" in run(*arguments).output
    assert "LL451" not in run(*arguments, "--target", "lora_lab").output


def test_an_unknown_trainer_is_refused(tmp_path: Path) -> None:
    """The settings name one of the three."""
    (tmp_path / "lora-lab.toml").write_text('target = "onetrainer"\n')
    (tmp_path / "config.toml").write_text(KOHYA)
    result = run("--no-disk", str(tmp_path / "config.toml"))
    assert result.exit_code == 2
    assert "lora_lab, sd-scripts, easy" in result.output


def test_explain_shows_the_trainer() -> None:
    """The page of a rule that is not true of every trainer says of which, and how to ask for it."""
    page = CliRunner().invoke(group, ["explain", "LL451"]).output
    assert "true of sd-scripts and easy only: `lora-lab lint --target sd-scripts`" in page
    assert "true of lora_lab only" in CliRunner().invoke(group, ["explain", "LL002"]).output
    assert "true of" not in CliRunner().invoke(group, ["explain", "LL303"]).output
