"""Findings about another program's file: in its words, and only what is true of it."""

from pathlib import Path

import pytest

from lora_lab.document import Origin, Span
from lora_lab.document.dialects import decode_config, read_config
from lora_lab.lint import Finding, lint_document
from lora_lab.lint.dialect import NOT_OF_FOREIGN, OF_THE_WHOLE_FILE, in_their_words, not_known
from lora_lab.lint.report import Judged, text_report

CASES = Path(__file__).parents[1] / "cases" / "dialects"
FILES = sorted(path for path in CASES.iterdir() if path.suffix != ".out")


def test_there_are_cases() -> None:
    """There is a file for nearly every dialect."""
    assert len(FILES) >= 14


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_golden(path: Path, update: bool) -> None:
    """Each dialect's file gives exactly the output beside it; `--update` writes it anew."""
    document = read_config(path)
    output = "\n".join(text_report(Judged(path.name, document.text, lint_document(document, None).findings)))
    golden = path.with_name(f"{path.name}.out")
    if update:
        golden.write_text(output, encoding="utf-8", newline="\n")
    assert output == golden.read_text(encoding="utf-8")


def found(text: str, name: str) -> dict[str, Finding]:
    """Return the findings about a text in a file of that name, by code."""
    return {one.code: one for one in lint_document(decode_config(text.encode(), Path(name)), None).findings}


def words(finding: Finding) -> str:
    """Return all that a finding says."""
    return f"{finding.message} {finding.remedy} {' '.join(finding.keys)}"


def test_our_own_json_is_left_alone() -> None:
    """Findings about JSON in our keys pass through as they are, fixes and all."""
    document = decode_config(b'{"net_dim": "8"}', Path("a.json"))
    finding = Finding("LL003", "x", "error", "net_dim is wrong", ("net_dim",), None, "mend net_dim")
    assert list(in_their_words([finding], document)) == [finding]


def test_their_names_in_message_remedy_and_keys() -> None:
    """The file's own spelling stands wherever our name would; a fix is not offered, for the text holds other keys."""
    finding = found('pretrained_model_name_or_path = "a"\nnetwork_dim = "many"\n', "a.toml")["LL003"]
    assert "network_dim" in words(finding)
    assert "net_dim" not in words(finding).replace("network_dim", "")
    assert finding.fix is None
    assert finding.span is not None
    assert finding.span.line == 2


def test_the_gui_has_its_own_name() -> None:
    """The same setting is called as the file calls it."""
    said = words(found('{"LoRA_type": "Standard", "train_batch_size": 0, "epoch": 1}', "a.json")["LL004"])
    assert "train_batch_size must be" in said


def test_a_switch_that_a_rate_stands_for() -> None:
    """Where a value of theirs means another key of ours, the finding speaks of what is written."""
    text = "pretrained_model_name_or_path = 'a'\nunet_lr = 0.0\ntext_encoder_lr = 1e-4\n"
    findings = found(text, "a.toml").values()
    assert all("text_only" not in words(one) for one in findings)


def test_what_stands_elsewhere_is_not_missed() -> None:
    """What a part of a run leaves out may be given elsewhere; in our own YAML it is missing."""
    assert "LL006" not in found("network_dim = 8\ntrain_batch_size = 1\n", "a.toml")
    assert "LL006" not in found("[[datasets]]\n[[datasets.subsets]]\nimage_dir = '1_a'\n", "a.toml")
    assert "LL006" in found("net_dim: 8\nalpha: 4\n", "a.yaml")


def test_of_a_data_set_only_what_is_about_pictures() -> None:
    """A --dataset_config is not judged on how the training goes, and on captions only as far as it says."""
    text = "[general]\nkeep_tokens = 1\nshuffle_caption = false\n[[datasets]]\nresolution = 512\n[[datasets.subsets]]\n"
    codes = found(text + "image_dir = '1_a'\n", "a.toml").keys()
    assert all(code.startswith(("LL0", "LL1", "LL2", "LL6")) for code in codes)
    assert "LL202" in codes


def test_beside_a_config_file_nothing_is_certain() -> None:
    """A command line with --config_file says some settings; only what is wrong in them by itself is said."""
    text = "accelerate launch train_network.py --config_file a.toml --learning_rate 50 --network_dim 0"
    codes = found(text, "a.sh").keys()
    assert "LL004" in codes
    assert all(code.startswith("LL0") for code in codes)


def test_other_families_have_other_layers() -> None:
    """What is known of Stable Diffusion's layers and schedules is not said of FLUX."""
    sd = "python train_network.py --pretrained_model_name_or_path m --network_dim 5000 --learning_rate 1e-4"
    assert "LL301" in found(sd, "a.sh")
    flux = "python flux_train_network.py --network_dim 5000 --learning_rate 1e-4"
    assert not [code for code in found(flux, "a.sh") if code.startswith(("LL3", "LL6", "LL7", "LL8"))]


def test_values_that_only_a_run_knows() -> None:
    """A shell variable is neither right nor wrong, whatever it will be."""
    document = decode_config(b"python train_network.py --network_dim=$DIM --seed 1", Path("a.sh"))
    assert not_known(document.origin) == {"net_dim"}
    assert not [one for one in lint_document(document, None).findings if "network_dim" in one.keys]
    assert not_known(None) == frozenset()


@pytest.mark.parametrize("code", sorted(NOT_OF_FOREIGN - {"LL009"}))
def test_no_fault_in_another_programs_file(code: str) -> None:
    """Findings that are true of lora_lab alone are not said of other programs' files."""
    document = decode_config(b"network_dim = 8\ntrain_batch_size = 1\n", Path("a.toml"))
    finding = Finding(code, "x", "error", "m", ("net_dim",), Span(0, 1, 1, 1), "")
    assert list(in_their_words([finding], document)) == []


@pytest.mark.parametrize("code", sorted(OF_THE_WHOLE_FILE))
def test_findings_about_the_file_are_always_said(code: str) -> None:
    """What is wrong with the text or the kind of file is said of a part of a run too."""
    for text in ("[[datasets]]\nresolution = 512\n", "network_dim = 8\ntrain_batch_size = 1\n"):
        document = decode_config(text.encode(), Path("a.toml"))
        finding = Finding(code, "x", "error", "m", (), Span(0, 1, 1, 1), "")
        assert [one.code for one in in_their_words([finding], document)] == [code]


def test_names_are_replaced_as_words() -> None:
    """Our name inside another word, a path or a flag stays; a longer name is not cut by a shorter one."""
    document = decode_config(b"network_dim = 8\ntrain_batch_size = 1\nunet_lr = 1e-4\n", Path("a.toml"))
    assert isinstance(document.origin, Origin)
    message = "net_dim 8, my_net_dim, net_dim-x, batch_size"
    finding = Finding("LL303", "x", "warning", message, ("net_dim",), None, "")
    (said,) = in_their_words([finding], document)
    assert said.message == "network_dim 8, my_net_dim, net_dim-x, train_batch_size"
    assert said.keys == ("network_dim",)
