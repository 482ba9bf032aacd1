"""Whole runs in a process of their own, packed or one after the other: what `packed_throughput.py --whole` starts.

It imports what `lora-lab train` imports and nothing else, so that a process costs here what it costs there. The command
line is JSON: `what` ("packed" or "in turn"), `configs`, `folder`. Prints the peak of a GPU's memory, in bytes.
"""

import json
import sys
import time
from pathlib import Path

from lora_lab.cli import be_silent
from lora_lab.cli.train import built_in_trainer
from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.memory import no_last_collection
from lora_lab.sweep.roles import RunToTrain
from lora_lab.tracking.events import ignore


def main() -> None:
    """Train what is told."""
    be_silent()
    no_last_collection()
    told = json.loads(sys.argv[1])
    folder = Path(told["folder"])
    configs = [TrainConfig.model_validate(values) for values in told["configs"]]
    runs = [
        RunToTrain(config=config, folder=folder / str(n), record=ignore, name="", ended=lambda result: note(folder))
        for n, config in enumerate(configs)
    ]
    train = built_in_trainer()
    for group in [runs] if told["what"] == "packed" else [[run] for run in runs]:
        failures = [result for result in train(group, lambda progress: None) if isinstance(result, Failure)]
        if failures:
            raise SystemExit(failures[0].what)
    cuda = sys.modules["torch"].cuda
    print(cuda.max_memory_reserved() if cuda.is_available() else 0)


def note(folder: Path) -> None:
    """Write down when a run ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ended").open("a") as stream:
        stream.write(f"{time.time()}\n")


if __name__ == "__main__":
    main()
