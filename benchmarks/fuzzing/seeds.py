"""What fuzzing starts from: real configs, grids and small files of every kind that is read."""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
KEPT = CASES / "fuzz"
"""Inputs that broke something once, by target."""

EXPRESSIONS = (
    "net_dim / 2", 'scheduler == "cosine" and net_dim > 16', "min(net_dim, 8) ** 2", "1 if unet_only else 2", "2**-3",
    "alpha in [1, 2, 'x']", "not true", "floor(log2(net_dim))", "9**9**9", "round(1.5)",
    "8 <= net_dim < 64", "-0.0 % 3",
)  # fmt: skip
GRIDS = (
    "base: {base_model: b, img_folder: i, output_folder: o}\nparameters:\n  net_dim: [8, 16]\n  alpha: net_dim / 2\n",
    "base: a.json\nmethod: bayes\nmax_runs: 5\n"
    "parameters:\n  learning_rate: {min: 1e-6, max: 1e-3, distribution: log_uniform}\n",
    "base: {}\nlinked:\n  - {batch_size: 1, gradient_acc_steps: 4}\n"
    "  - {batch_size: 4, gradient_acc_steps: 1}\nseeds: 3\n",
    "base: {}\nparameters:\n  scheduler: [cosine, constant]\n"
    "  cosine_restarts: {values: [1, 3], when: scheduler == 'cosine'}\n"
    "exclude:\n  - {scheduler: constant}\n  - net_dim > 8\ninclude:\n  - {net_dim: 64}\nmax_hours: 8\n",
    "method: random\nmax_runs: 9\nparameters:\n"
    "  net_dim: {min: 1, max: 64, distribution: q_uniform, q: 4, count: 3}\n"
    "early_terminate: {type: hyperband, s: 2, eta: 3, max_iter: 27}\n",
    "presets:\n  a: {net_dim: 8}\n  b: {net_dim: 16}\nparameters:\n  preset: [a, b]\n",
)  # fmt: skip
CAPTIONS = (
    "lumi, 1girl, {red|blue} hat ||| smile, looking ;; up",
    "a {{b}} {c|{d|e}|}\nsecond line",
    "",
    "日本語, é́, 😀",
)


def seeds(name: str) -> Iterator[bytes]:
    """Yield the inputs that a target starts from."""
    made = {
        "config": _configs, "fix": _configs, "convert": _configs, "grid": _grids, "yaml": _yaml,
        "expression": lambda: (text.encode() for text in EXPRESSIONS),
        "safetensors": _safetensors, "safetensors_json": lambda: (data[8:] for data in _safetensors()),
        "pickle": _pickles, "weights": lambda: (*_pickles(), *_safetensors()), "state": _pickles,
        "picture_header": _pictures, "pixels": _pictures,
        "caption": lambda: (b"\0\1\2" + bytes([n]) + text.encode() for n in range(4) for text in CAPTIONS),
        "records": _records,
    }  # fmt: skip
    yield from made[name]()
    for path in sorted((KEPT / name).glob("*")):
        yield path.read_bytes()


def _configs() -> Iterator[bytes]:
    """Yield real configs of every dialect, each with the byte that chooses how it is read."""
    places = {".json": 0, ".toml": 1, ".yaml": 2, ".sh": 3, ".txt": 4}
    for path in sorted((CASES / "dialects").glob("[!.]*")) + sorted((CASES / "lint").glob("*/*.json"))[::3]:
        if path.suffix in places:
            yield bytes([places[path.suffix]]) + path.read_bytes()


def _grids() -> Iterator[bytes]:
    yield from (text.encode() for text in GRIDS)
    yield from (path.read_bytes() for path in sorted((ROOT / "experiments").glob("*.yaml")))


def _yaml() -> Iterator[bytes]:
    yield from _grids()
    yield b"a: &a [1, 2]\nb: *a\nc: !!int '3'\n? d\n: |\n  text\n--- >\n x\n"


def _safetensors() -> Iterator[bytes]:
    """Yield a LoRA and an embedding, as a few bytes."""
    layer = "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"
    of_lora = {"ss_network_dim": "4", "ss_optimizer": "a.B(c=1)"}
    for name, metadata in ((layer, of_lora), ("emb_params", {"modelspec.architecture": "stable-diffusion-v1"})):
        about = {"__metadata__": metadata, name: {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}
        text = json.dumps(about).encode()
        yield len(text).to_bytes(8, "little") + text + b"\0" * 4


def _pickles() -> Iterator[bytes]:
    import torch

    for content in ({"state_dict": {"a": torch.zeros(1)}}, {"a": torch.zeros(2, 2), "n": 3}):
        for zipped in (True, False):
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=zipped)
            yield stream.getvalue()
    yield b"cos\nsystem\n(S'echo'\ntR."


def _pictures() -> Iterator[bytes]:
    from PIL import Image

    rng = random.Random(0)
    picture = Image.frombytes("RGBA", (8, 4), rng.randbytes(8 * 4 * 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("PNG RGBA", "PNG P", "PNG I;16", "JPEG RGB", "JPEG CMYK", "BMP RGB", "WEBP RGBA", "GIF P", "TIFF RGB"):
        form, mode = form.split()
        one = picture.convert("L").convert("I;16") if mode == "I;16" else picture.convert("RGB").convert(mode)
        stream = io.BytesIO()
        one.save(stream, format=form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}))
        yield stream.getvalue()
    stream = io.BytesIO()
    picture.save(stream, format="PNG", save_all=True, append_images=[picture.rotate(180)])
    yield stream.getvalue()


def _records() -> Iterator[bytes]:
    yield b'{"identity": "a", "name": "b", "status": "FINISHED", "axes": {}, "metrics": {"loss": 1}, "lora": "x"}'
    yield b'{"name": "a", "metric": "b", "goal": "minimize", "axes": ["c"], "runs": [{"name": "x", "identity": "y"}]}'
    yield (
        b'{"kind": "Spool", "key": "a", "experiment": "b", "parent": null}\n'
        b'{"kind": "Metrics", "at": 1, "step": 1, "values": {"loss": 0.5}, "time_ms": 1}\n'
        b'{"kind": "SamplePicture", "at": 1, "step": 1, "key": "k", "path": "../x.png"}\n'
    )
