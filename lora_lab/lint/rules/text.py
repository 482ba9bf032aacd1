"""LL0xx: the file as a text."""

from collections import Counter
from collections.abc import Iterator

from lora_lab.config import ALIASES
from lora_lab.document import Document, Span
from lora_lab.lint.finding import Edit, Fix, Severity
from lora_lab.lint.foreign import COMMENT_KEYS, is_later_easy, looks_like
from lora_lab.lint.rule import Hit, View, rule

_SYNTAX = "https://www.rfc-editor.org/rfc/rfc8259"
_OLD_LOADER = "LoRA_Easy_Training_Scripts d14b240 load_json"


@rule("LL001", "syntax", "error", reads=(), source=_SYNTAX)
def syntax(view: View) -> Iterator[Hit]:
    """The file is not JSON here.

    What it does
    Reports each place where the text departs from JSON in a way that had to be guessed (warning) or where something was
    lost (error). Comments, a comma after the last entry and a byte-order mark are read and not reported.

    Why is this bad
    What was guessed may be wrong, and other programs read the file otherwise: the `\\t` of `C:\\train` is a tab there.

    Bad
    ```json
    {"net_dim": 32, "alpha": 16, "shuffle_captions": True}
    ```

    Good
    ```json
    {"net_dim": 32, "alpha": 16, "shuffle_captions": true}
    ```
    """
    for problem in view.document.problems:
        if problem.kind == "syntax":
            yield Hit(problem.message, (), "mend the text here", span=problem.span)
    guessed = [problem for problem in view.document.problems if problem.kind == "spelling"]
    for message, count in Counter(problem.message for problem in guessed).items():
        first = next(problem for problem in guessed if problem.message == message)
        more = f" (here and in {count - 1} more place{'s' if count > 2 else ''})" if count > 1 else ""
        remedy = "write each backslash twice, or / instead" if "backslash" in message else "write it as JSON does"
        places = [problem.span for problem in guessed if problem.message == message]
        yield Hit(message + more, (), remedy, _respelled(view.document, places), "warning", span=first.span)


@rule("LL007", "duplicate-key", "warning", reads=(), source="RFC 8259 §4")
def duplicate_key(view: View) -> Iterator[Hit]:
    """A key stands in the file twice.

    What it does
    Reports every setting of a key that a later one replaces.

    Why is this bad
    Only the last one counts, and which one was meant cannot be seen.

    Bad
    ```json
    {"net_dim": 64, "alpha": 8, "net_dim": 32}
    ```

    Good
    ```json
    {"net_dim": 32, "alpha": 8}
    ```
    """
    for earlier in view.document.duplicates:
        last = view.document.entries[earlier.key]
        same = earlier.value == last.value
        message = f'"{earlier.key}" is set again in line {last.key_span.line}; only that one counts'
        severity: Severity = "info" if same else "warning"
        fix = Fix((Edit(earlier.key, "deduplicate"),), safe=same)
        yield Hit(message, (earlier.key,), "remove one of them", fix, severity, span=earlier.key_span)


@rule("LL009", "not-a-training-config", "error", reads=(), source="https://github.com/bmaltais/kohya_ss/issues/2391")
def not_a_training_config(view: View) -> Iterator[Hit]:
    """The file is some other program's.

    What it does
    Says what a file looks like when at least half of its keys are unknown here, instead of reporting each.

    Why is this bad
    Almost nothing of it would be used.

    Bad
    ```json
    {"training_method": "LORA", "base_model_name": "sd15.safetensors", "lora_rank": 8, "output_model_format": "LORA"}
    ```

    Good
    ```json
    {"base_model": "models/sd15", "img_folder": "img", "output_folder": "out", "net_dim": 8, "alpha": 4}
    ```
    """
    origin = view.document.origin
    if origin and not origin.readable:
        message = f"this is {origin.title}, which lora_lab does not train from"
        number = len(view.document.entries)
        convertible = f"`lora-lab convert` takes over {number} of its settings" if number else "start from a new config"
        yield Hit(message, (), convertible, span=Span(0, 0, 1, 1))
    if origin and origin.foreign:
        return
    keys = [key for key in view.values if not key.startswith(COMMENT_KEYS)]
    unknown = [p.key for p in view.problems if p.kind == "unknown" and p.key in keys and not is_later_easy(p.key)]
    cut_off = view.document.broken and len(keys) < 5
    if not unknown or cut_off or len(unknown) * 2 < len(keys):
        return
    if {"base", "parameters"} <= set(keys):
        remedy = "save it as .yaml: then `lora-lab lint` judges every run of it, and `lora-lab sweep` trains them"
        yield Hit("this is a grid of a sweep, not a config", (unknown[0],), remedy, at="key")
        return
    looks = looks_like(frozenset(keys))
    message = f"this does not look like a config for lora_lab: {len(unknown)} of its {len(keys)} keys are unknown"
    if looks:
        message += f"; it looks like {looks}"
    names = [f"{key} → {ALIASES.get(key)}" for key in unknown if ALIASES.get(key)]
    remedy = f"its keys have other names here: {', '.join(names[:6])}{', …' if len(names) > 6 else ''}" if names else ""
    yield Hit(message, (unknown[0],), remedy or "see `lora-lab explain` for the keys", at="key")


@rule("LL010", "loaded-file-unreadable", "error", reads=("load_json_path",), source=_OLD_LOADER)
def loaded_file_unreadable(view: View) -> Iterator[Hit]:
    """The file of `load_json_path` can't be read.

    What it does
    Reads the config that this one starts from.

    Why is this bad
    Its settings are missing from this run.

    Bad
    ```json
    {"load_json_path": "gone.json"}
    ```

    Good
    ```json
    {"load_json_path": "start.json"}
    ```
    ```files
    start.json: {"net_dim": 16, "alpha": 8}
    ```
    """
    if view.load_failure:
        yield Hit(view.load_failure.what, ("load_json_path",), view.load_failure.remedy)


def _respelled(document: Document, places: list[Span]) -> Fix | None:
    """Return the fix that writes the keys and values at these places as JSON does."""
    touched = [
        key
        for key, entry in document.entries.items()
        if any(entry.key_span.start <= place.start < entry.value_span.end for place in places)
    ]
    return Fix(tuple(Edit(key, "respell") for key in touched), safe=True) if touched else None
