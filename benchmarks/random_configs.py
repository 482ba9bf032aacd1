"""Random configs on small bases: each that lint passes must train, save, load and go on from a state.

    python benchmarks/random_configs.py [--examples 100] [--seed 1] [--keys 8] [--refused]

Hypothesis draws them from the definitions of the parameters, over SD 1 and SDXL, with and without v-prediction. It
prints every config that fails, and how often lint refuses what was drawn. `--refused` trains those too: what the
trainer takes all the same is listed by the rule that speaks against it.
"""

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "train"))

from conftest import Shape, ShapeXL, make_base
from drawing.scene import Scene, configs, lay_out, shown
from drawing.trial import judge, refuses, try_out
from drawing.values import Values


def main() -> int:
    """Try the configs and print the table; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keys", type=int, default=8, help="settings that each config has at least")
    parser.add_argument("--refused", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        scene = lay_out(folder / "data", make_bases(folder))
        train_first(scene)
        tally = Tally(scene, folder / "runs", options.refused)
        tally.fill(options.examples, options.seed, options.keys)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tally.report(options.seed)


def make_bases(folder: Path) -> dict[str, Path]:
    """Write the four small bases."""
    shapes = {
        "sd1": Shape(),
        "sd1_v": Shape(prediction="v_prediction"),
        "sdxl": ShapeXL(),
        "sdxl_v": ShapeXL(prediction="v_prediction"),
    }
    return {name: make_base(folder / name, shape) for name, shape in shapes.items()}


def train_first(scene: Scene) -> None:
    """Train a LoRA on each base, to go on from and to merge."""
    for name, base in scene.bases.items():
        values = {"base_model": str(base), "img_folder": "pics", "output_folder": "o", "net_dim": 4, "alpha": 2.0}
        values |= {"train_resolution": 64, "min_bucket_resolution": 64, "v_parameterization": name.endswith("_v")}
        try_out(judge(scene, values | {"mixed_precision": "no"}).config, scene.folder / f"first-{name}")
        scene.loras[name] = scene.folder / f"first-{name}" / "whole" / "last.safetensors"


class Tally:
    """What has been tried, and how it went."""

    def __init__(self, scene: Scene, folder: Path, refused: bool) -> None:
        self._scene = scene
        self._folder = folder
        self._refused = refused
        self.trained = 0
        self.failures: list[tuple[Values, str]] = []
        self.codes: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self._began = time.monotonic()

    def fill(self, examples: int, number: int, keys: int) -> None:
        """Draw and try until so many have been trained."""

        @seed(number)
        @settings(
            max_examples=20 * examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(configs(self._scene, keys))
        def each(values: Values) -> None:
            if self.trained < examples:
                self.add(values)

        each()

    def add(self, values: Values) -> None:
        """Try one config."""
        verdict = judge(self._scene, values)
        if verdict.errors:
            self.codes.update(verdict.errors.keys())
            if self._refused and not refuses(verdict.config, self._folder):
                self.taken.update(verdict.errors.keys())
            return
        self.trained += 1
        try:
            try_out(verdict.config, self._folder)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            self.failures.append((values, what))
            print(f"FAILED {what}\n    {shown(values)}", flush=True)

    def report(self, number: int) -> int:
        """Print the figures; return 1 where something failed."""
        seconds = time.monotonic() - self._began
        print(
            f"seed {number}: {self.trained} configs trained, saved, loaded and continued, {len(self.failures)} failed"
        )
        print(
            f"{seconds:.0f} s, {seconds / max(self.trained, 1):.2f} s each; {sum(self.codes.values())} errors of lint:"
        )
        for code, count in self.codes.most_common():
            taken = f", {self.taken[code]} of them trained all the same" if self.taken[code] else ""
            print(f"    {code} {count}{taken}")
        return int(bool(self.failures))


if __name__ == "__main__":
    sys.exit(main())
