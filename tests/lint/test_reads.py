"""What a rule declares to read is what it reads: where one of its keys is invalid it would judge a stand-in."""

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from lora_lab.config import PARAMETERS, check
from lora_lab.document import Document, Entry
from lora_lab.lint import RULES, Disk
from lora_lab.lint.engine import NOWHERE, can_run, findings_of, unusable_keys
from lora_lab.lint.machine import Machine
from lora_lab.lint.recorded import Recorder
from lora_lab.lint.rule import View

CONFIGS = 300
PROBLEMS = "the problems"


def config_of(draw: random.Random) -> dict[str, object]:
    """Return a config with values of every kind, most of them sound and unusual."""
    values: dict[str, object] = {"base_model": "model.safetensors", "img_folder": "pictures", "output_folder": "out"}
    for name, known in PARAMETERS.items():
        if draw.random() < 0.5:
            continue
        if known.kind is bool:
            values[name] = draw.choice([True, False])
        elif known.choices:
            values[name] = draw.choice(known.choices)
        elif known.kind is int:
            values[name] = draw.choice([0, 1, 2, 7, 64, 512, 1000])
        elif known.kind is float:
            values[name] = draw.choice([0.0, 1e-5, 1e-4, 0.1, 1.0, 5])
        elif name in VARIOUS:
            values[name] = draw.choice(VARIOUS[name])
    return values


VARIOUS: dict[str, list[object]] = {
    "optimizer_type": ["AdamW", "Prodigy", "AdaFactor", "Lion", "DAdaptation", "AdamW8bit", "AdamWScheduleFree"],
    "optimizer_args": [["weight_decay=0.1"], {"relative_step": False}, {"betas": "0.9,0.99"}],
    "caption_extension": [".txt", ".caption"],
    "train_resolution": [512, "512,768", 1024],
    "sample_prompts": [["a cat --w 512"], "prompts.txt"],
    "reg_img_folder": ["pictures", "gone"],
    "load_json_path": ["gone.json"],
}


def test_declared_reads_are_complete(tmp_path: Path, described: Callable[[str], Machine]) -> None:
    """Over many configs, with pictures on the disk, no rule about valid values looks at a key that it does not name."""
    machine = described("gpu: Tesla T4, 7.5, 3072\ncores: 1\nfree: 0")
    inside = tmp_path / "pictures" / "2_cat"
    inside.mkdir(parents=True)
    (inside / "a.png").touch()
    (inside / "a.txt").write_text("cat, (sits:1.2), mat")
    (tmp_path / "prompts.txt").write_text("a cat --n x\n")
    header = b'{"model.diffusion_model.x.attn2.to_k.weight": {"dtype": "F16", "shape": [999999, 768]}, "vae.x": {}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    disk = Disk(tmp_path)
    draw = random.Random(3)
    undeclared: dict[str, set[str]] = defaultdict(set)
    ran: set[str] = set()
    for _ in range(CONFIGS):
        values = config_of(draw)
        checked = check(values)
        given = frozenset(key for key, value in values.items() if value is not None)
        document = Document(None, "", {key: Entry(key, one, NOWHERE, NOWHERE) for key, one in values.items()})
        view = View(checked.config, values, given, checked.problems, document, disk, None, machine_view=machine)
        for rule in RULES:
            if not rule.reads or rule.sees not in ("config", "disk", "machine"):
                continue
            if not can_run(rule, unusable_keys(checked), view):
                continue
            recorder = Recorder(view, PARAMETERS, [PROBLEMS])
            list(findings_of(rule, recorder.view))
            if PROBLEMS in recorder.seen:
                continue  # it speaks of whatever is wrong
            ran.add(rule.code)
            stands_in = {"dataset_config"} if {"img_folder", "reg_img_folder"} & set(rule.reads) else set()
            undeclared[rule.code] |= recorder.seen.difference(rule.reads, stands_in)
    assert {code: sorted(keys) for code, keys in undeclared.items() if keys} == {}
    assert len(ran) > 100
