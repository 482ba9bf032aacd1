"""Tokens and passwords in a config: found, and never told to a terminal, a tracker, a record or a LoRA."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lora_lab.cli import group
from lora_lab.lint.formats import FORMATS
from lora_lab.printable import printable
from lora_lab.secrets import masked, secrets_in

TOKEN = "hf_" + "aB3" * 12
SECRETS = {
    TOKEN: "a Hugging Face token",
    "ghp_" + "a1" * 18: "a GitHub token",
    "AKIA" + "ABCDEFGH12345678": "an AWS key",
    "sk-proj-" + "a1" * 20: "an API key",
    "https://me:hunter2@example.com/x": "a password in an address",
    'wandb_api_key = "' + "0123456789abcdef" * 2 + '01234567"': "a key or token",
    "-----BEGIN RSA PRIVATE KEY-----": "a private key",
}
PLAIN = (
    "keep_tokens: 12", "hf_hub", "a/b:c@d", "https://example.com/a@b", "token_warmup_min", "api_key: your_own_key_here",
    "${HF_TOKEN}", "https://$USER:$PASSWORD@host", "E:/models/sk-long-name.safetensors", "http://host:5000/x",
)  # fmt: skip


@pytest.mark.parametrize(("text", "what"), SECRETS.items())
def test_is_found(text: str, what: str) -> None:
    """Each kind by its form, in the middle of a text; what is shown has stars and the same length."""
    whole = f"before {text} after"
    assert [secret.what for secret in secrets_in(whole)] == [what]
    shown = printable(whole)
    assert len(shown) == len(whole)
    assert shown.startswith("before ")
    assert "***" in shown
    assert not list(secrets_in(masked(whole)))


@pytest.mark.parametrize("text", PLAIN)
def test_is_none(text: str) -> None:
    """What people write beside secrets is none."""
    assert not list(secrets_in(text))
    assert masked(text) == text


def test_no_run_tells_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config with one is refused by train and sweep before anything is written, and no command shows it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pictures" / "1_x"
    folder.mkdir(parents=True)
    values = {"base_model": "b", "img_folder": "pictures", "output_folder": "out", "training_comment": f"by {TOKEN}"}
    Path("c.json").write_text(json.dumps({**values, "wandb_api_key": "0123456789abcdef" * 2}))
    Path("grid.yaml").write_text("base: c.json\nparameters:\n  net_dim: [2, 4]\n")
    for form in FORMATS:
        said = CliRunner().invoke(group, ["lint", "--isolated", "c.json", "--format", form]).output
        assert "LL015" in said
        assert TOKEN not in said
        assert "0123456789abcdef" not in said
    for words in (["lint", "c.json"], ["train", "c.json"], ["sweep", "grid.yaml"], ["lint", "grid.yaml"]):
        result = CliRunner().invoke(group, words, standalone_mode=False)
        assert "LL015" in result.output, result.output
        assert TOKEN not in result.output
        assert result.return_value == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "grid.yaml", "pictures"]
