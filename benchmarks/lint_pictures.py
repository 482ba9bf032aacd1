"""What a folder of many pictures with captions adds to `lora-lab lint`.

    python benchmarks/lint_pictures.py [--pictures 2000] [--rounds 9]

Whole processes, with the folder and with --no-disk in alternation; medians. The pictures are JPEG, PNG and WebP of
usual sizes, the captions 40 tags of which some reach the limit of tokens. The files are in the system's cache: a first
look at a slow disk costs what reading the first and the last few kilobytes of each file costs there.
"""

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

WORDS = ["long hair", "blue eyes", "standing", "outdoors", "looking at viewer", "simple background", "white shirt"]
SIZES = [(1024, 1024), (832, 1216), (1216, 832), (1920, 1080), (768, 1344)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        config = write(Path(name), options.pictures)
        pairs = [(seconds(config, "--no-disk"), seconds(config)) for _ in range(options.rounds + 1)][1:]
        without, looked = (statistics.median(column) for column in zip(*pairs, strict=True))
        each = (looked - without) / options.pictures
        print(f"{options.pictures} pictures: {looked:.2f} s, without the disk {without:.2f} s")
        print(f"{each * 1e6:.0f} µs for each picture with its caption")


def write(folder: Path, number: int) -> Path:
    """Write a config, and a data set of pictures of noise, which are as large as photographs are."""
    draw = random.Random(7)
    data = folder / "pictures" / "2_cat"
    data.mkdir(parents=True)
    kinds = [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")]
    files = [(suffix, encoded(size, form)) for size in SIZES for form, suffix in kinds]
    for index in range(number):
        suffix, content = files[index % len(files)]
        (data / f"{index}.{suffix}").write_bytes(content)
        (data / f"{index}.txt").write_text(", ".join(draw.choices(WORDS, k=draw.randint(10, 45))), encoding="utf-8")
    config = {"base_model": "base", "img_folder": "pictures", "output_folder": "out", "train_resolution": 1024}
    path = folder / "config.json"
    path.write_text(json.dumps(config | {"max_bucket_resolution": 2048, "batch_size": 4}), encoding="utf-8")
    return path


def encoded(size: tuple[int, int], form: str) -> bytes:
    """Return the bytes of a picture."""
    small = Image.frombytes("RGB", (64, 64), random.Random(size[0]).randbytes(64 * 64 * 3))
    file = io.BytesIO()
    small.resize(size).save(file, form)
    return file.getvalue()


def seconds(config: Path, *options: str) -> float:
    """Return how long a process takes."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "lora_lab", "lint", *options, str(config)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
