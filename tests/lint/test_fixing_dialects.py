"""Fixes in TOML, YAML, command lines and other programs' keys: only what is meant to change does."""

import json
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lora_lab.config import PARAMETERS
from lora_lab.document import Document
from lora_lab.document.compose import WRITERS
from lora_lab.document.dialects import decode_config
from lora_lab.document.write import encoded
from lora_lab.lint import Edit, Finding, Fix, lint_document
from lora_lab.lint.fixing import Fixed, applied_to, fixed, makeable

REQUIRED = {"base_model": "b", "img_folder": "i", "output_folder": "o"}

CASES = {
    "own.toml": (
        '# mine\r\nbase_model = "b"\r\nimg_folder = \'i\' # pictures\r\noutput_folder = "o"\r\n\r\n[net]\r\n'
        'net_dim = "8"  # eight\r\n  keep_tokens = 1 # why\r\nlearning_rate = "1e-4"',
        False,
        [('"8"', "8"), ("keep_tokens = 1 # why", "# why"), ('"1e-4"', "1e-4")],
    ),
    "own.yaml": (
        "# mine\nbase_model: b # base\nimg_folder: i\noutput_folder: 'o'\n\nnet_dim: \"8\"  # eight\nkeep_tokens: 1\n"
        "sample_every_n_steps: 100\nsample_prompts:\n  - a\n  # between\n  - b\n\n# last\n",
        False,
        [('"8"', "8"), ("keep_tokens: 1\n", "")],
    ),
    "flow.yaml": (
        "{base_model: b, img_folder: i, output_folder: o, net_dim: '8', keep_tokens: 1}\n",
        True,
        [("'8'", "8")],
    ),
    "sd.toml": (
        '[model]\npretrained_model_name_or_path = "b"\n[data]\ntrain_data_dir = "i"\noutput_dir = "o"\n'
        'keep_tokens = 1\n[net]\nnetwork_dim = "8"\nlr_scheduler = "cosin"\n',
        False,
        [('"8"', "8")],
    ),
    "sd_unsafe.toml": (
        '[model]\npretrained_model_name_or_path = "b"\n[data]\ntrain_data_dir = "i"\noutput_dir = "o"\n'
        'keep_tokens = 1\n[net]\nnetwork_dimm = 8\nlr_scheduler = "cosin" # slow end\n',
        True,
        [("keep_tokens = 1\n", ""), ("network_dimm", "network_dim"), ('"cosin"', '"cosine"')],
    ),
    "gui.json": (
        '{\n  "LoRA_type": "Standard", // a note\n  "pretrained_model_name_or_path": "b", "train_data_dir": "i",\n'
        '  "output_dir": "o",\n  "network_dim": "8",\n  "keep_tokens": "1",\n  "save_model_as": "pt",\n}\n',
        True,
        [('  "keep_tokens": "1",\n', ""), ('"pt"', '"safetensors"')],
    ),
    "run.sh": (
        "accelerate launch train_network.py --network_dim=8 \\\n  --keep_tokens 2 \\\n"
        "  --lr_scheduler 'cosin' --min_snr_gamma=5 \\\n  --pretrained_model_name_or_path=b # end\necho done\n",
        True,
        [("  --keep_tokens 2 \\\n", ""), ("'cosin'", "'cosine'")],
    ),
    "last.sh": (
        "python train_network.py --pretrained_model_name_or_path=b \\\n  --keep_tokens 2\n",
        True,
        [(" \\\n  --keep_tokens 2", "")],
    ),
}
"""Name of the file, its text, whether unsafe fixes are made, and the pieces that change."""


def judge(document: Document) -> tuple[Finding, ...]:
    """Lint without the disk."""
    return lint_document(document, None).findings


def fix(name: str, data: bytes, *, unsafe: bool) -> tuple[Document, Fixed]:
    """Fix the bytes of a file."""
    document = decode_config(data, Path(name))
    return document, fixed(document, judge, unsafe=unsafe)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", CASES)
def test_only_the_meant_pieces_change(name: str, mark: bytes) -> None:
    """Byte for byte: mark, comments, line ends, quotes, order and the missing line end stay."""
    text, unsafe, changes = CASES[name]
    _, done = fix(name, mark + text.encode(), unsafe=unsafe)
    wanted = text
    for before, after in changes:
        assert wanted.count(before) == 1
        wanted = wanted.replace(before, after)
    assert encoded(done.document, mark) == mark + wanted.encode()
    _, again = fix(name, mark + wanted.encode(), unsafe=unsafe)
    assert (again.document.text, again.applied) == (wanted, ())


def test_safe_fixes_of_another_program_are_about_form_only() -> None:
    """What does nothing here may do something there: only a number's quotes go without being asked for."""
    text, _, _ = CASES["sd_unsafe.toml"]
    _, done = fix("sd.toml", text.encode(), unsafe=False)
    assert done.applied == ()


def test_a_fix_that_cannot_be_made_is_not_offered() -> None:
    """A switch of a command line can't be set to false, and a flow mapping loses no key."""
    text = "python train_network.py --pretrained_model_name_or_path=b --cache_latents --color_aug --network_dim=8"
    document = decode_config(text.encode(), Path("run.sh"))
    (finding,) = [one for one in judge(document) if one.code == "LL621"]
    assert finding.fix is not None
    assert [one.fix for one in makeable(document, [finding])] == [None]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", 'net_dim = "8"\nalp'),
        ("a.yaml", "net_dim: '8'\nalpha: [1"),
        ("a.toml", 'net_dim = "8"\nnet_dim = "8"'),
        ("job.yaml", "job: extension\nconfig:\n  name: x\n  process: []\n"),
    ],
)
def test_broken_and_unreadable_files_stay(name: str, text: str) -> None:
    """Where a part could not be read, or the file is another program's, nothing changes."""
    _, done = fix(name, text.encode(), unsafe=True)
    assert (done.document.text, done.applied) == (text, ())


def test_set_to_nothing_in_toml_takes_the_key_out() -> None:
    """TOML has no null."""
    document = decode_config(b'net_dim = 8\nalpha = 4\nbase_model = "b"\n', Path("a.toml"))
    changed = applied_to(document, Fix((Edit("alpha", "set", None),), safe=True))
    assert changed is not None
    assert changed.text == 'net_dim = 8\nbase_model = "b"\n'


def test_a_block_of_yaml_goes_whole() -> None:
    """The lines of a list go with their key; the comment below them stays, and a text's own # is no comment."""
    text = "sample_prompts:\n- a cat\n- a dog\n\n# the rest\nbase_model: b\ntraining_comment: |\n  a\n  # b\nalpha: 4\n"
    document = decode_config(text.encode(), Path("a.yaml"))
    changed = applied_to(
        document, Fix((Edit("sample_prompts", "remove"), Edit("training_comment", "remove")), safe=True)
    )
    assert changed is not None
    assert changed.text == "\n# the rest\nbase_model: b\nalpha: 4\n"


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.toml", "[a]\r\n  net_dim = 8 # x\r\n[b]\r\n", "[a]\r\n  net_dim = 8 # x\r\n  alpha = 4.0\r\n[b]\r\n"),
        ("a.yaml", "net_dim: 8 # x", "net_dim: 8 # x\nalpha: 4.0"),
        ("a.toml", "network_dim = 8", "network_dim = 8\nnetwork_alpha = 4.0"),
    ],
)
def test_a_new_key_goes_below_the_last(name: str, text: str, wanted: str) -> None:
    """In the same column, with the file's line ends, in its own words."""
    document = decode_config(text.encode(), Path(name))
    changed = applied_to(document, Fix((Edit("alpha", "set", 4.0),), safe=True))
    assert changed is not None
    assert changed.text == wanted


VALUES = st.sampled_from([True, False, 0, 1, 2, 8, 512, 0.5, 1e-4, "8", "1e-4", "true", "cosine", "cosin", "Lion", "x"])


@given(
    st.dictionaries(st.sampled_from([*PARAMETERS, "net_dimm", "network_dim", "locon_dim"]), VALUES, max_size=8),
    st.sampled_from([".toml", ".yaml", ".json"]),
    st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_every_format_is_fixed_alike(values: dict[str, object], suffix: str, unsafe: bool) -> None:
    """The same config in TOML, YAML or JSON has the same values after its fixes, and no fix is left."""
    first = decode_config(json.dumps(REQUIRED | values).encode(), Path("c.json"))
    assume(first.origin is None)
    text = WRITERS[suffix](REQUIRED | values)
    document, done = fix(f"c{suffix}", text.encode(), unsafe=unsafe)
    assume(document.origin is None or document.origin.dialect == "own")
    assert not done.document.broken
    as_json = fixed(first, judge, unsafe=unsafe).document.values
    assert _set(done.document.values) == _set(as_json)
    assert fixed(done.document, judge, unsafe=unsafe).applied == ()


def _set(values: dict[str, object]) -> dict[str, object]:
    """Return the values that are set: TOML has no null."""
    return {key: value for key, value in values.items() if value is not None}
