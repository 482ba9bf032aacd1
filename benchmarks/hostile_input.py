"""How the time to judge a text grows with its size, for texts that are made to be slow.

    python benchmarks/hostile_input.py [--size 20000]

Each piece is repeated to a text of that many characters and to one of four times as many, in every format. Shown is
what takes long; what grows with the square of the size is marked. Nothing shown is good news.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from lora_lab.document.dialects import decode_config
from lora_lab.lint import lint_document

PIECES = (
    "[", "{", '"', "'", "\\", '\\"', "#", "//", "/*", "a=", "a.", "a,", "=", ",", "$", "<", "!", "`", "1", "1e", "0x",
    "1_", "-", "é", "“", "{a}", "%a%", "${", "$(", "a={b=", 'a="\\"', "\\u", '"C:\\', "'''", '"""\\"', "true", "nan",
    "train", "finetune", "train_", "train_network.py", "--a", "--a=b", "#@param", '{"a":', '{"a":1,', '"a":1', '"a"',
    "a:", "- ", "? ", "&a ", "*a ", "a:{", "a:[", '"k":"v\\', '"lerning_rate%d":1,', "--lerning_rate%d=1",
    "--network_dim", '{"lora_lab:ignore":', '"net_dim":"x",', "^", "|", ">", "lora-lab: ignore[",
)  # fmt: skip
LINES = (
    "[[a]]", "[a]", "a=1", 'a = "', 'a = """', "a = [1,", "[a.b]", "a.b.c=1", "a = {}\n[a]", "[a", "a", "// x", "#x",
    "`", "^\r", "a:", "a:\n ", "|", ">", "train_network.py", "train_network.py --a", "lerning_rate%d = 1",
    "lerning_rate%d: 1", "network_dim = 'x'", '[[subsets]]\nimage_dir="a%d"',
    '[[datasets]]\n[[datasets.subsets]]\nimage_dir="%d"',
)  # fmt: skip
NAMES = ("a.json", "a.toml", "a.yaml", "a.sh", "a")
LONG = 0.3
"""Seconds for the longer text, below which nobody minds how it grows."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=20_000)
    size = parser.parse_args().size
    shown = 0
    for name in NAMES:
        for piece in pieces():
            short, long = (seconds(piece, characters, name) for characters in (size, 4 * size))
            if long > LONG:
                shown += 1
                mark = "  square" if long > 10 * short else ""
                print(f"{name:<7} {piece!r:<40} {short:6.2f} s -> {long:6.2f} s{mark}", flush=True)
    print(f"{shown} of {len(NAMES) * len(list(pieces()))} took more than {LONG} s at {4 * size:,} characters")


def pieces() -> Iterator[str]:
    """Yield what is repeated: words close together, words apart, lines."""
    for piece in PIECES:
        yield piece
        yield piece + " "
    yield from (line + "\n" for line in LINES)


def seconds(piece: str, size: int, name: str) -> float:
    """Return how long it takes to read and judge a text made of a piece."""
    number = size // len(piece)
    text = "".join(piece.replace("%d", str(at)) for at in range(number)) if "%d" in piece else piece * number
    start = time.perf_counter()
    lint_document(decode_config(text.encode(), Path(name)), None)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
