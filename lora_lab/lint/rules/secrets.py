"""LL015: what gives access to something does not belong into a file of settings."""

from collections.abc import Iterator, Mapping

from lora_lab.config import PARAMETERS
from lora_lab.document import Document
from lora_lab.document.document import Lines
from lora_lab.lint.rule import Hit, View, rule
from lora_lab.secrets import secrets_in

_TEXTS = tuple(key for key, known in PARAMETERS.items() if known.kind not in (bool, int, float))
"""Settings that can hold any text."""


@rule(
    "LL015",
    "secret-in-file",
    "warning",
    reads=(),
    source="GitHub secret scanning; a run's settings are logged to MLflow and written into the LoRA",
)
def secret_in_file(view: View) -> Iterator[Hit]:
    """A token, key or password stands in the file.

    What it does
    Looks for what has the form of a token (Hugging Face, GitHub, GitLab, Slack, AWS, OpenAI and the like), for a
    private key, for an address with a password, and for a long value after a name such as `wandb_api_key`. It is an
    error where it stands in a setting that the run would tell. It is never shown: stars stand for it.

    Why is this bad
    Settings are passed on: with the file itself, in MLflow's parameters, and inside the LoRA that is uploaded. Whoever
    reads them has the access.

    Bad
    ```json
    {"training_comment": "from https://me:hunter2@example.com/set"}
    ```

    Good
    ```json
    {"training_comment": "from https://example.com/set"}
    ```
    """
    remedy = "take it out, and have it replaced where it is from: it may be known by now; put it into the environment"
    told = {key: what for key in _TEXTS for what in _in_value(view.values.get(key))}
    for key, what in told.items():
        yield Hit(f"{key} holds {what}, which would be told with the run", (key,), remedy, severity="error")
    document = view.document
    if document.text:
        yield from _elsewhere(document, told, remedy)


def _elsewhere(document: Document, told: Mapping[str, str], remedy: str) -> Iterator[Hit]:
    """Yield what stands in comments and in keys that no run reads."""
    lines: Lines | None = None
    spans = [document.entries[key].value_span for key in told if key in document.entries]
    for start, end, what in secrets_in(document.text):
        if not any(span.start <= start < span.end for span in spans):
            lines = lines or Lines(document.text)
            yield Hit(f"the file holds {what}", (), remedy, span=lines.span(start, end))


def _in_value(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from (secret.what for secret in secrets_in(value))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _in_value(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _in_value(inner)
