"""LL0xx: each key and value by itself."""

import json
from collections.abc import Iterator

from lora_lab.config import ALIASES, PARAMETERS, FieldProblem
from lora_lab.config.names import NEEDLESS_KEYS, UNSUPPORTED_KEYS, note_on
from lora_lab.lint.finding import removed, renamed, set_to
from lora_lab.lint.foreign import COMMENT_KEYS, is_idle, is_later_easy
from lora_lab.lint.rule import OURS, Hit, View, rule

_SYNTAX = "https://www.rfc-editor.org/rfc/rfc8259"
_OLD_LOADER = "LoRA_Easy_Training_Scripts d14b240 load_json"


@rule("LL002", "unknown-key", "warning", reads=(), source=_OLD_LOADER, targets=OURS)
def unknown_key(view: View) -> Iterator[Hit]:
    """A key is no setting of lora_lab.

    What it does
    Names every key that nothing here reads, with the key that was probably meant. It is an error where that key is
    clear, because the setting that the writer wanted would silently stay at its default.

    Why is this bad
    The tools that this format comes from drop such keys without a word, so a typing mistake costs a whole run.

    Bad
    ```json
    {"net_dimm": 64}
    ```

    Good
    ```json
    {"net_dim": 64}
    ```
    """
    for problem in view.problems:
        key = problem.key
        if problem.kind != "unknown" or key.startswith(COMMENT_KEYS) or is_idle(key, problem.value):
            continue
        meant = ALIASES.get(key) or (problem.suggestion if isinstance(problem.suggestion, str) else None)
        if key in UNSUPPORTED_KEYS or key in NEEDLESS_KEYS:
            yield Hit(problem.message, (key,), "remove it", removed(key), at="key")
        elif is_later_easy(key) or meant is None:
            yield Hit(
                f'"{key}" is not a setting of lora_lab: it is ignored', (key,), "remove it", removed(key), at="key"
            )
        elif meant in view.given:
            message = f'"{key}" is ignored: "{meant}", which it stands for elsewhere, is set too'
            yield Hit(message, (key, meant), f"keep {meant} only", removed(key), at="key")
        else:
            yield Hit(
                f'"{key}" is not a setting of lora_lab',
                (key,),
                f"did you mean {meant}?{note_on(key)}",
                None if note_on(key) else renamed(key, meant),
                "error",
                at="key",
            )


@rule(
    "LL003",
    "wrong-type",
    "error",
    reads=(),
    source="the key's definition; real files: 124 of 167 write numbers in quotes",
)
def wrong_type(view: View) -> Iterator[Hit]:
    """A value has the wrong type.

    What it does
    Compares each value with the type of its key: numbers in quotes, words for switches, a list where one value stands.

    Why is this bad
    The trainer refuses the value; older tools took the text "false" for true, since it is not empty.

    Bad
    ```json
    {"learning_rate": "1e-4"}
    ```

    Good
    ```json
    {"learning_rate": 1e-4}
    ```
    """
    for problem in _of_kind(view, "type"):
        suggestion = problem.suggestion
        fix = None if suggestion is None else set_to(problem.key, suggestion, safe=True)
        remedy = _expected(problem.key) if suggestion is None else f"write {_as_json(suggestion)}"
        yield Hit(problem.message, (problem.key,), remedy, fix)


@rule("LL004", "out-of-range", "error", reads=(), source="the key's definition")
def out_of_range(view: View) -> Iterator[Hit]:
    """A number is outside the range that is possible.

    What it does
    Compares each value with the hard limits of its key. `lora-lab explain KEY` shows them.

    Why is this bad
    The trainer refuses the value, because the run would fail or its result be useless.

    Bad
    ```json
    {"batch_size": 0}
    ```

    Good
    ```json
    {"batch_size": 1}
    ```
    """
    for problem in _of_kind(view, "range"):
        message = f"{problem.key} is empty" if problem.value == "" else problem.message
        fixed = None if problem.suggestion is None else set_to(problem.key, problem.suggestion)
        remedy = _expected(problem.key) if fixed is None else f"did you mean {_as_json(problem.suggestion)}?"
        yield Hit(message, (problem.key,), remedy, fixed)


@rule("LL005", "not-a-choice", "error", reads=(), source="the key's definition")
def not_a_choice(view: View) -> Iterator[Hit]:
    """A word is not one of those that the key knows.

    What it does
    Compares each value with the words that its key allows and names the nearest.

    Why is this bad
    The trainer refuses it.

    Bad
    ```json
    {"scheduler": "cosin"}
    ```

    Good
    ```json
    {"scheduler": "cosine"}
    ```
    """
    for problem in _of_kind(view, "choice"):
        if problem.suggestion is None:
            yield Hit(problem.message, (problem.key,), _expected(problem.key))
            continue
        remedy = f"did you mean {_as_json(problem.suggestion)}?"
        yield Hit(problem.message, (problem.key,), remedy, set_to(problem.key, problem.suggestion))


@rule("LL006", "missing-key", "error", reads=(), source="the key's definition")
def missing_key(view: View) -> Iterator[Hit]:
    """A setting that has no default is not there.

    What it does
    Looks for `base_model`, `img_folder` and `output_folder`, here or in the file of `load_json_path`.

    Why is this bad
    Nothing can be trained without a base, pictures and a place for the result.

    Bad
    ```json
    {"img_folder": "pictures", "output_folder": "out"}
    ```

    Good
    ```json
    {"base_model": "models/sd15", "img_folder": "pictures", "output_folder": "out"}
    ```
    """
    unread = "load_json_path" in view.given and view.disk_view is None
    if view.document.broken or unread or view.load_failure:
        return  # it may stand in what could not be read
    for problem in _of_kind(view, "missing"):
        yield Hit(problem.message, (problem.key,), f"add it: {PARAMETERS[problem.key].meaning}")


@rule("LL008", "unset-foreign-keys", "info", reads=(), source="LoRA_Easy_Training_Scripts ArgsList.py", targets=OURS)
def unset_foreign_keys(view: View) -> Iterator[Hit]:
    """Keys of other versions are there, but not set.

    What it does
    Counts the keys that lora_lab does not know and whose value asks for nothing: null, false or empty.

    Why is this bad
    It is not: tools that save every key they know leave such a tail, and it does nothing.

    Bad
    ```json
    {"net_dim": 32, "alpha": 16, "locon_dim": null}
    ```

    Good
    ```json
    {"net_dim": 32, "alpha": 16}
    ```
    """
    if view.document.broken:
        return  # a key without a value may have lost it
    keys = tuple(
        problem.key
        for problem in view.problems
        if problem.kind == "unknown"
        and not problem.key.startswith(COMMENT_KEYS)
        and is_idle(problem.key, problem.value)
    )
    if keys:
        names = ", ".join(keys[:4]) + (", …" if len(keys) > 4 else "")
        message = f"{len(keys)} key(s) that lora_lab does not know, none of them set: {names}"
        yield Hit(message, keys, "they can go", removed(*keys), at="key")


@rule(
    "LL011",
    "empty-value",
    "warning",
    reads=(),
    source="real files: 115 of 167 write empty text for unset numbers",
    targets=OURS,
)
def empty_value(view: View) -> Iterator[Hit]:
    """A value is an empty text, or a 0 that means "never".

    What it does
    Looks for `""` where a number, a path or a word stands, and for 0 as an interval or a number of steps.

    Why is this bad
    It is read as not set, so the default counts. One old tool stops at `""`, for others it is 0.

    Bad
    ```json
    {"max_steps": ""}
    ```

    Good
    ```json
    {"max_steps": null}
    ```
    """
    for problem in filter(_is_unset, view.problems):
        fix = set_to(problem.key, None, safe=True)
        what = "is empty" if problem.value == "" else "is 0"
        message = f"{problem.key} {what}: it is read as not set"
        yield Hit(message, (problem.key,), "write null or leave it out", fix)


def _of_kind(view: View, kind: str) -> Iterator[FieldProblem]:
    """Return the problems of one kind."""
    return (problem for problem in view.problems if problem.kind == kind and not _is_unset(problem))


def _is_unset(problem: FieldProblem) -> bool:
    """Say whether a value is one that stands for "not set" in many files: the empty text, or 0 for every so many."""
    if problem.kind == "unknown" or PARAMETERS[problem.key].required:
        return False
    if isinstance(problem.value, int | float) and not isinstance(problem.value, bool):
        return problem.value == 0 and PARAMETERS[problem.key].nullable and PARAMETERS[problem.key].minimum == 1
    return problem.value == ""


def _as_json(value: object) -> str:
    """Return a value as the file would write it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _expected(key: str) -> str:
    """Return what people give a key, in a line."""
    parameter = PARAMETERS[key]
    return parameter.meaning if parameter.required else f"typical: {parameter.typical}"
