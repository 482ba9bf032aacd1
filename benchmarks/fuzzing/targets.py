"""One function for each thing that reads what other people wrote: bytes in; only what is documented may come out."""

import contextlib
import os
import random
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from lora_lab.config import PARAMETERS
from lora_lab.document.conversion import converted
from lora_lab.document.dialects import DIALECTS, decode_config
from lora_lab.document.effective import effective
from lora_lab.document.lora_metadata import rebuild
from lora_lab.document.model_header import read_model_header
from lora_lab.document.pickle_table import read_pickled
from lora_lab.document.tensor_table import read_safetensors
from lora_lab.document.yaml_text import parse_yaml
from lora_lab.failure import Failure
from lora_lab.lint import lint_document
from lora_lab.lint.clip_tokens import beyond, count_tokens, most_tokens
from lora_lab.lint.fixing import fixed
from lora_lab.lint.formats import FORMATS, rendered
from lora_lab.lint.picture_header import read_picture_header
from lora_lab.lint.report import Judged, text_report
from lora_lab.printable import printable
from lora_lab.sweep.expression import ExpressionError, is_calculated, parse_expression
from lora_lab.sweep.plan import make_plan, space_of
from lora_lab.sweep.read_grid import read_grid
from lora_lab.sweep.run_folder import read_record
from lora_lab.sweep.sample import sample_plan
from lora_lab.sweep.sweep_record import read_sweep
from lora_lab.tracking.spool import read_events, read_header, read_sent

SUFFIXES = (".json", ".toml", ".yaml", ".sh", "")
CASES = Path(__file__).parents[2] / "tests" / "cases"
MOST_RUNS = 50

Target = Callable[[bytes], None]


@cache
def folder() -> Path:
    """A folder for the files, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    return Path(
        tempfile.mkdtemp(prefix="fuzz_", dir=memory if memory.is_dir() and os.access(memory, os.W_OK) else None)
    )


def _file(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def config(data: bytes) -> None:
    """Read a config of any dialect, judge it for each trainer, show what was found in every form."""
    first, data = data[:1], data[1:]
    choice = first[0] if first else 0
    path = Path(f"a{SUFFIXES[choice % len(SUFFIXES)]}")
    names = [None, None, None, *DIALECTS]
    document = decode_config(data, path, names[choice // len(SUFFIXES) % len(names)])
    target = ("lora_lab", "lora_lab", "sd-scripts", "easy")[choice % 4]
    found = lint_document(document, None, target).findings  # type: ignore[arg-type]
    judged = Judged(document.text[:20], document.text, found)
    for line in text_report(judged):
        assert printable(line) == line, line
    form = (*FORMATS,)[choice % len(FORMATS)]
    rendered(form, [judged])


def fix(data: bytes) -> None:
    """Mend a config as far as it goes: each change of the text is one of the values, and it ends."""
    choice = data[0] if data else 0
    path = Path(f"a{SUFFIXES[choice % len(SUFFIXES)]}")
    document = decode_config(data[1:3000], path)
    fixed(document, lambda one: lint_document(one, None).findings, unsafe=choice > 127)


def convert(data: bytes) -> None:
    """What `convert` and `diff` make of a file."""
    choice = data[0] if data else 0
    with contextlib.suppress(Failure):
        one = converted(_file(f"c{SUFFIXES[choice % len(SUFFIXES)]}", data[1:]))
        effective(one)


def grid(data: bytes) -> None:
    """Read a grid and list its first points."""
    read = read_grid(parse_yaml(data.decode("utf-8", "replace"), Path("g.yaml")))
    if read.grid is None:
        assert read.problems
        return
    with contextlib.suppress(Failure):
        base: Mapping[str, object] = read.grid.base if isinstance(read.grid.base, Mapping) else {}
        if read.grid.method == "sobol":
            return  # scipy's own business
        if read.grid.method == "bayes":
            sample_plan(space_of(read.grid, base))
        else:
            make_plan(replace(read.grid, max_runs=min(read.grid.max_runs or MOST_RUNS, MOST_RUNS)), base)


def yaml(data: bytes) -> None:
    """Read YAML."""
    document = parse_yaml(data.decode("utf-8", "replace"))
    document.span_of(("a", 0))


def expression(data: bytes) -> None:
    """Read an expression of the grid language and calculate it: nothing of Python's can be reached."""
    text = data.decode("utf-8", "replace")
    is_calculated(text)
    with contextlib.suppress(ExpressionError):
        read = parse_expression(text)
        known = {name: PARAMETERS[name].default for name in read.names if name in PARAMETERS}
        plain = (bool, int, float, str, list)
        values = {name: known[name] if isinstance(known.get(name), plain) else 1 for name in read.names}
        value = read.value(values)
        assert value is None or isinstance(value, plain)


def safetensors(data: bytes) -> None:
    """Read the header of a .safetensors file, what it is, and the config that it carries."""
    path = _file("a.safetensors", data)
    read_model_header(path)
    with contextlib.suppress(Failure):
        rebuild(read_safetensors(path))
    with contextlib.suppress(Failure):
        effective(converted(path))


def safetensors_json(data: bytes) -> None:
    """The same with a length that fits, so that more of it is JSON."""
    safetensors(len(data).to_bytes(8, "little") + data)


def pickle(data: bytes) -> None:
    """List the tensors of a pickle or of a zip archive with one."""
    path = _file("a.ckpt", data)
    read_model_header(path)
    with contextlib.suppress(Failure):
        read_pickled(path)


def picture_header(data: bytes) -> None:
    """Read a picture's header as lint does."""
    read_picture_header(_file("a.png", data))


def pixels(data: bytes) -> None:
    """Read a picture as the trainer does: what is none is told in one line."""
    from PIL import Image

    from lora_lab.train.data import pixels as ours
    from lora_lab.train.data.folder import _header

    Image.MAX_IMAGE_PIXELS = 1_000_000  # nobody waits for big pictures here
    path = _file("p.png", data)
    for read in (ours.load, ours.load_alpha, _header):
        with contextlib.suppress(Failure):
            read(path)


def caption(data: bytes) -> None:
    """Take a caption through everything that can happen to it."""
    from lora_lab.train.data.caption import CaptionOptions, plain, process

    draws = random.Random(data[:4])
    text = data[4:].decode("utf-8", "replace")
    options = CaptionOptions(
        shuffle=draws.random() < 0.5,
        keep_tokens=draws.randrange(4),
        dropout_rate=draws.choice((0.0, 0.1)),
        tag_dropout_rate=draws.choice((0.0, 0.5)),
        prefix=draws.choice(("", "a photo")),
        suffix=draws.choice(("", "high {quality|art}")),
        keep_separator=draws.choice(("", "|||", ",")),
        secondary_separator=draws.choice(("", ";;", ";")),
        wildcards=draws.random() < 0.7,
        warmup_steps=draws.choice((0, 10)),
    )
    process(text, options, draws, epoch=1, step=draws.randrange(20))
    plain(text, options)
    count_tokens(text)
    most_tokens(text)
    beyond(text, 75)


def records(data: bytes) -> None:
    """What a sweep left in its folders, as anybody may have changed it."""
    home = folder() / "run1"
    home.mkdir(exist_ok=True)
    for name in ("run.json", "sweep.json", "events.jsonl", "events.sent.json"):
        (home / name).write_bytes(data)
    read_record(home)
    read_sweep(home)
    read_header(home)
    read_sent(home, "a")
    read_events(home, 0)


def state(data: bytes) -> None:
    """A state folder as anybody may have changed it: told in a line, and nothing of it runs."""
    from lora_lab.train import state as ours

    home = folder() / "x-state"
    home.mkdir(exist_ok=True)
    half = data.find(b"\n\n")
    (home / ours.TENSORS).write_bytes(data[half + 2 :] if half >= 0 else data)
    (home / ours.POSITION).write_bytes(data[:half] if half >= 0 else b'{"current_step": 1, "current_epoch": 1}')
    with contextlib.suppress(Failure):
        ours._read(home)


def weights(data: bytes) -> None:
    """A base, VAE or LoRA as the trainer reads it."""
    from lora_lab.train.base_files.weights import read_state
    from lora_lab.train.lora_file import read_lora

    for name in ("w.safetensors", "w.ckpt"):
        path = _file(name, data)
        for read in (read_state, read_lora):
            with contextlib.suppress(Failure):
                read(path)


TARGETS: Mapping[str, Target] = {
    one.__name__: one
    for one in (
        config, fix, convert, grid, yaml, expression, safetensors, safetensors_json, pickle, picture_header, pixels,
        caption, records, state, weights,
    )
}  # fmt: skip
