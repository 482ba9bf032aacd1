"""Every rule, in the order of its code. What is not here is not run."""

from lora_lab.lint.rule import Rule
from lora_lab.lint.rules import fields

RULES: tuple[Rule, ...] = (
    fields.syntax,
    fields.unknown_key,
    fields.wrong_type,
    fields.out_of_range,
    fields.not_a_choice,
    fields.missing_key,
    fields.duplicate_key,
    fields.unset_foreign_keys,
    fields.not_a_training_config,
    fields.loaded_file_unreadable,
)
