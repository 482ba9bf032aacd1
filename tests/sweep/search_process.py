"""A search in a process of its own, to be killed; test_search gives a folder, a grid, and a run to stop at."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_search import Scene, badness

from lora_lab.config import TrainConfig


def main() -> None:
    """Search until the run of that number, and wait there."""
    folder, text, stop = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    scene = Scene()

    def judge(config: TrainConfig) -> float:
        if len(scene.trained) > stop:
            print("training", flush=True)  # noqa: T201
            time.sleep(60)
        return badness(config)

    scene.judge = judge
    scene.run(text, folder)


if __name__ == "__main__":
    main()
