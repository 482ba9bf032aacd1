"""What a parameter is: one flat model, everything known about each key, and what follows by arithmetic."""

from lora_lab.config.about import REQUIRED, Pitfall
from lora_lab.config.check import Checked, FieldProblem, check, expected, shown
from lora_lab.config.names import ALIASES, nearest_key
from lora_lab.config.parameters import PARAMETERS, Parameter
from lora_lab.config.paths import hub_name, quoted, resolve_path, with_absolute_paths, with_paths
from lora_lab.config.shapes import OPTIMIZERS, arguments, sides
from lora_lab.config.steps import (
    BLOCK_ARGS,
    NETWORK_ARGS,
    StepPlan,
    effective_alpha,
    effective_batch,
    effective_conv_alpha,
    factorization,
    is_whole,
    learning_rate_of,
    loraplus_ratio,
    network_args,
    network_module,
    plan_steps,
    processes,
    scale,
    trained_parts,
    warmup_steps,
)
from lora_lab.config.train_config import TrainConfig
from lora_lab.config.undeciding import UNDECIDING

__all__ = [
    "ALIASES",
    "BLOCK_ARGS",
    "NETWORK_ARGS",
    "OPTIMIZERS",
    "PARAMETERS",
    "REQUIRED",
    "UNDECIDING",
    "Checked",
    "FieldProblem",
    "Parameter",
    "Pitfall",
    "StepPlan",
    "TrainConfig",
    "arguments",
    "check",
    "effective_alpha",
    "effective_batch",
    "effective_conv_alpha",
    "expected",
    "factorization",
    "hub_name",
    "is_whole",
    "learning_rate_of",
    "loraplus_ratio",
    "nearest_key",
    "network_args",
    "network_module",
    "plan_steps",
    "processes",
    "quoted",
    "resolve_path",
    "scale",
    "shown",
    "sides",
    "trained_parts",
    "warmup_steps",
    "with_absolute_paths",
    "with_paths",
]
