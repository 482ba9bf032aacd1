"""LL0xx: what a file asks not to be told."""

from collections.abc import Iterator

from lora_lab.lint.rule import Hit, View, rule
from lora_lab.lint.suppression import suppressions

_PRACTICE = "https://docs.astral.sh/ruff/rules/unused-noqa/"


@rule("LL012", "suppression-without-reason", "warning", reads=(), source=_PRACTICE, sees="outcome")
def suppression_without_reason(view: View) -> Iterator[Hit]:
    """A rule is ignored and nothing says why.

    What it does
    Looks for entries of `lora_lab:ignore` and comments `// lora-lab: ignore[CODE]` that give no reason.

    Why is this bad
    Half a year later nobody knows whether the finding was wrong or only unwelcome.

    Bad
    ```json
    {"save_as": "pt", "lora_lab:ignore": {"LL701": ""}}
    ```

    Good
    ```json
    {"save_as": "pt", "lora_lab:ignore": {"LL701": "the plugin that loads it is from 2022"}}
    ```
    """
    for one in suppressions(view.document):
        if not one.reason:
            message = f"{one.rule} is ignored without a reason"
            yield Hit(message, (), f"write why behind it: ignore[{one.rule}] because ...", span=one.span)


@rule("LL013", "suppression-without-effect", "warning", reads=(), source=_PRACTICE, sees="outcome")
def suppression_without_effect(view: View) -> Iterator[Hit]:
    """What is ignored would not be found anyway, or can't be ignored.

    What it does
    Names every entry of `lora_lab:ignore` and every comment `// lora-lab: ignore[CODE]` that hides no finding. Rules
    that did not run, because the disk was not to be looked at or a value is invalid, are passed over.

    Why is this bad
    It looks as if something were wrong with the file, and would hide the finding when it comes for another reason.

    Bad
    ```json
    {"save_as": "safetensors", "lora_lab:ignore": {"LL701": "the plugin that loads it is from 2022"}}
    ```

    Good
    ```json
    {"save_as": "pt", "lora_lab:ignore": {"LL701": "the plugin that loads it is from 2022"}}
    ```
    """
    for idle in view.idle:
        yield Hit(f"this ignores nothing: {idle.why}", (), "remove it", span=idle.suppression.span)
