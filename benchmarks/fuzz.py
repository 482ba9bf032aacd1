"""Feed every reader of other people's bytes with what nobody meant: a million times and more.

    pip install atheris
    python benchmarks/fuzz.py [--seconds 60] [--runs 0] [--only pickle grid] [--corpus FOLDER] [--found FOLDER]

Each target (benchmarks/fuzzing/targets.py) runs in a process of its own under atheris (libFuzzer guided by which lines
were reached), started from the repository's own cases. Whatever a target raises that it does not document, and what
takes longer than ten seconds or more than 4 GB, is a crash: its input is kept below --found, one for each place in the
code. Without atheris inputs are mutated blindly, which is slower to find things. Prints a line for each target:
executions, seconds, crashes. Exits with 1 where there are any.
"""

import argparse
import hashlib
import importlib.util
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[1]
SLOW = 10.0
MEMORY = 4 << 30
LONGEST = 4096
DICTIONARY = [
    b"base_model", b"net_dim", b"alpha", b"scheduler", b"learning_rate", b"optimizer_args", b"null", b"true", b"NaN",
    b"\x1b[31m", b"\xff\xfe", b"\xef\xbb\xbf", b"parameters:", b"linked:", b"exclude:", b"min: ", b"max: ",
    b"distribution: log_uniform", b"when: ", b"**", b"//", b" if ", b" else ", b"&a ", b"*a", b"<<: ", b"values: [",
    b"!!python/object",
    b"__metadata__", b"dtype", b"shape", b"data_offsets", b"ss_network_dim", b"IHDR", b"IDAT", b"IEND",
    b"eXIf", b"acTL", b"\xff\xd8\xff", b"RIFF", b"WEBPVP8X", b"BM", b"PK\x03\x04", b"\x80\x02",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"cos\nsystem\n", b"1e999", b"99999999999999999999", b"--network_dim", b"[[datasets]]", b"{a|b}", b"$(", b"'''",
]  # fmt: skip


class TooSlow(Exception):
    """An input takes longer than anybody waits."""


def main() -> int:
    """Fuzz each target in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=0, help="for each target, 0: until the seconds are over")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--corpus", type=Path, help="keep what reaches new lines here, and start from it")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        fuzz(given)
        return 0
    from fuzzing.targets import TARGETS

    names = given.only or list(TARGETS)
    print(f"{'target':<18}{'executions':>12}{'seconds':>9}{'a second':>10}  crashes")
    total, crashes = 0, 0
    for name in names:
        told = run(name, given)
        total += told["executions"]
        crashes += len(told["crashes"])
        speed = told["executions"] / max(told["seconds"], 0.001)
        print(
            f"{name:<18}{told['executions']:>12,}{told['seconds']:>9.0f}{speed:>10,.0f}  {len(told['crashes'])}",
            flush=True,
        )
        for place, text in told["crashes"].items():
            print(f"    {text}\n      at {place}", flush=True)
    print(f"{'all':<18}{total:>12,}{'':>19}  {crashes}  ({'atheris' if has_atheris() else 'blind mutation'})")
    return 1 if crashes else 0


def run(name: str, given: argparse.Namespace) -> dict:
    """Fuzz one target in another process; an end without a result is a crash too."""
    with tempfile.TemporaryDirectory() as place:
        result = Path(place) / "result.json"
        command = [sys.executable, str(Path(__file__).resolve()), "--inside", name, "--result", str(result)]
        for key in ("seconds", "runs", "seed", "found", "corpus"):
            value = getattr(given, key)
            command += [] if value is None else [f"--{key}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if result.exists():
            told = json.loads(result.read_text())
            if done.returncode not in (0, 77):
                told["crashes"]["the process"] = f"ended with {done.returncode}: {done.stderr[-300:]}"
            return told
        return {"executions": 0, "seconds": 0.0, "crashes": {"the process": done.stderr[-2000:]}}


def has_atheris() -> bool:
    """Return whether coverage can guide."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(given: argparse.Namespace) -> None:
    """Fuzz one target here, and keep what was found."""
    atheris = importlib.import_module("atheris") if has_atheris() else None
    if atheris:
        with atheris.instrument_imports(include=["lora_lab"]):
            from fuzzing.targets import TARGETS
    else:
        from fuzzing.targets import TARGETS
    import resource

    from lora_lab.lint.formats import sarif

    sarif.RULES = ()  # every rule's page stands in each log: a fifth of a second for what no input changes
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, too_slow)
    counted = Counted(TARGETS[given.inside], given)
    seeds = list(seeds_of(given.inside))
    for one in seeds:
        counted(one)
    if atheris:
        guided(atheris, counted, seeds, given)
    else:
        blind(counted, seeds, given)
    counted.tell()


class Counted:
    """A target that counts, and keeps one input for each place where something undocumented comes out."""

    def __init__(self, target: Callable[[bytes], None], given: argparse.Namespace) -> None:
        self.crashes: dict[str, str] = {}
        self.executions = 0
        self._target = target
        self._given = given
        self._began = self._told = time.monotonic()

    def __call__(self, data: bytes) -> None:
        """Run the target once."""
        self.executions += 1
        signal.setitimer(signal.ITIMER_REAL, SLOW)
        try:
            self._target(data)
        except Exception as error:
            self._keep(error, data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self.executions % 500 == 0 and time.monotonic() - self._told > 5:
            self.tell()

    def _keep(self, error: Exception, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "lora_lab" in frame.filename] or frames
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        if isinstance(error, TooSlow):
            place = "slow"  # wherever it was just then
        key = f"{type(error).__name__} {place}"
        if key not in self.crashes:
            self.crashes[key] = f"{type(error).__name__}: {str(error)[:200]}"
            folder = self._given.found / self._given.inside
            folder.mkdir(parents=True, exist_ok=True)
            name = hashlib.sha256(data).hexdigest()[:12]
            (folder / name).write_bytes(data)
            (folder / f"{name}.txt").write_text("".join(traceback.format_exception(error))[-4000:])

    def tell(self) -> None:
        """Write down how far it is."""
        self._told = time.monotonic()
        known = {"executions": self.executions, "seconds": self._told - self._began, "crashes": self.crashes}
        self._given.result.write_text(json.dumps(known))


def guided(atheris: object, counted: Counted, seeds: list[bytes], given: argparse.Namespace) -> None:
    """Let libFuzzer choose the inputs; it ends the process, so what was counted is told when it does."""
    import atexit

    place = given.corpus / given.inside if given.corpus else Path(tempfile.mkdtemp())
    place.mkdir(parents=True, exist_ok=True)
    for one in seeds:
        if len(one) <= LONGEST:
            (place / hashlib.sha256(one).hexdigest()[:16]).write_bytes(one)
    words = Path(tempfile.mkdtemp()) / "words.dict"
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in DICTIONARY)
    words.write_text("".join(f'"{word}"\n' for word in quoted))
    limits = [f"-max_total_time={given.seconds}", f"-seed={given.seed}", f"-max_len={LONGEST}", f"-dict={words}"]
    limits += [f"-runs={given.runs}"] if given.runs else []
    quiet = ["-verbosity=0", "-print_final_stats=0", "-close_fd_mask=0", "-rss_limit_mb=0", "-timeout=0"]
    atexit.register(counted.tell)
    atheris.Setup([sys.argv[0], *limits, *quiet, str(place)], counted)  # type: ignore[attr-defined]
    atheris.Fuzz()  # type: ignore[attr-defined]


def blind(counted: Counted, seeds: list[bytes], given: argparse.Namespace) -> None:
    """Cut pieces out of the seeds and put others in."""
    rng = random.Random(given.seed)
    until = time.monotonic() + given.seconds
    while time.monotonic() < until and not (given.runs and counted.executions >= given.runs):
        data = rng.choice(seeds or [b""])[:LONGEST]
        for _ in range(rng.randrange(1, 5)):
            at, gone = rng.randrange(len(data) + 1), rng.choice((0, 0, 1, 2, 8, 64))
            kinds = (lambda: rng.randbytes(rng.randrange(1, 5)), lambda: rng.choice(DICTIONARY), lambda: b"")
            data = data[:at] + rng.choice(kinds)() + data[at + gone :]
        counted(data)


def too_slow(number: int, frame: FrameType | None) -> None:
    """Raise where an input takes too long."""
    raise TooSlow(f"more than {SLOW:g} s")


def seeds_of(name: str) -> Iterator[bytes]:
    """Yield what to start from: the cases of the tests, files that the libraries write, and the kept corpus."""
    from fuzzing.seeds import seeds

    yield from seeds(name)


if __name__ == "__main__":
    sys.exit(main())
