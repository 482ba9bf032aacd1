"""Whatever is typed, the editor gets an answer and no exception."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab.editor import actions
from lora_lab.editor.completion import completions, form_of
from lora_lab.editor.hover import hover
from lora_lab.editor.judging import judge_for, opened

STARTS = [
    (
        "c.json",
        '{"base_model": "b", "net_dim": "8", "keep_tokens": 1, "save_as": "pt", "train_resolution": [512, 512]}',
    ),
    ("c.toml", 'base_model = "b"\n[a]\nnet_dim = "8"\nkeep_tokens = 1\nsave_as = "pt"\n'),
    ("c.yaml", "base_model: b\nnet_dim: '8'\nkeep_tokens: 1\nsample_prompts:\n  - a\nsave_as: pt\n"),
    (
        "k.json",
        '{"LoRA_type": "Standard", "network_dim": "8", "pretrained_model_name_or_path": "b", "keep_tokens": "1"}',
    ),
    ("s.toml", 'pretrained_model_name_or_path = "b"\nnetwork_dim = "8"\nlr_scheduler = "cosin"\n'),
    ("r.sh", "python train_network.py \\\n --network_dim 8 \\\n --save_model_as pt --keep_tokens=1\n"),
]
PIECES = st.one_of(st.text(max_size=4), st.sampled_from([*"{}[]\"'=:,#\\\n\r", "😀", '"""', "/*", "--", "- "]))


@given(st.sampled_from(STARTS), st.integers(0, 120), st.integers(0, 12), PIECES, st.integers(0, 130))
@settings(deadline=None, max_examples=250)
def test_any_text(start: tuple[str, str], at: int, removed: int, piece: str, cursor: int) -> None:
    """A piece of a config replaced by anything: every finding has a place in the text, every action another text."""
    name, text = start
    text = text[:at] + piece + text[at + removed :]
    path = Path("/nowhere") / name
    now = opened(text, path)
    shown = now.document.text if now.document else text
    cursor = min(cursor, len(shown))
    hover(shown, now.document, cursor)
    form = form_of(path, "shellscript")
    assert form is not None
    for one in completions(shown, form, now.document, cursor):
        assert 0 <= one.start <= cursor <= one.end <= len(shown)
    if now.document is None:
        assert now.findings == ()
        return
    for finding in now.findings:
        assert finding.span is None or 0 <= finding.span.start <= finding.span.end <= len(shown)
    offered = [*actions.fixes(now.document, now.findings), *actions.suppressions(now.document, now.findings)]
    everything = actions.all_fixes(now.document, judge_for(path))
    for action in [*offered, *([everything] if everything else [])]:
        change = action.change
        assert 0 <= change.start <= change.end <= len(shown)
        assert shown[: change.start] + change.text + shown[change.end :] != shown


def test_titles_say_what_a_fix_does() -> None:
    """In the file's own names, with a warning where the training changes."""
    now = opened(STARTS[3][1], Path("/nowhere/k.json"))
    assert now.document
    assert [one.title for one in actions.fixes(now.document, now.findings)] == [
        "LL202: remove keep_tokens (changes the training)"
    ]
    text = '{"base_model": "b", "img_folder": "i", "output_folder": "o", "net_dim": "8", "sheduler": "cosine"}'
    now = opened(text, Path("/nowhere/c.json"))
    assert now.document
    assert [one.title for one in actions.fixes(now.document, now.findings)] == [
        "LL003: set net_dim to 8",
        "LL002: rename sheduler to scheduler (changes the training)",
    ]
