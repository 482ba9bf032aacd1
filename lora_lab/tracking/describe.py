"""What a run says of itself when it starts."""

import json
from collections.abc import Mapping

from lora_lab.config import PARAMETERS, TrainConfig
from lora_lab.tracking.events import RunStarted


def run_started(config: TrainConfig, *, name: str, tags: Mapping[str, str], note: str = "") -> RunStarted:
    """Return the first event of a run that trains `config`: every effective parameter as text."""
    params = {key: value_text(getattr(config, key)) for key in PARAMETERS}
    return RunStarted(name=name, params=params, tags=tags, note=note)


def value_text(value: object) -> str:
    """Return a parameter's value as text: texts as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
