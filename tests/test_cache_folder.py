"""The folder of the caches: where it is, what goes first, what stays."""

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_lab import cache_folder
from lora_lab.cache_entry import about, fault
from lora_lab.cache_folder import Entry, Lease, entries, in_use_since, remove, to_remove
from lora_lab.failure import Failure

KEYS = ["ab" * 32, "cd" * 32, "ef" * 32]


Written = Callable[..., Path]


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"LORA_LAB_CACHE": "/big/cache"}, "/big/cache"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/lora-lab"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/lora-lab"),
        ("linux", {}, "/home/ada/.cache/lora-lab"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "/home/ada/Library/Caches/lora-lab"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/lora-lab/Cache"),
    ],
)
def test_place(monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str) -> None:
    """Each system's own place for what can be made again; LORA_LAB_CACHE wins; a relative XDG path does not count."""
    for name in ("LORA_LAB_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder.default_folder().as_posix() == expected


def test_sizes_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and times as people write them; anything else is one line that names where it stands."""
    assert [cache_folder.size_of(text, "x") for text in ("20GB", "1.5 kb", "700")] == [20 * 10**9, 1500, 700]
    assert [cache_folder.age_of(text, "x") for text in ("30d", "12h", "2w")] == [2592000, 43200, 1209600]
    for ask, text in ((cache_folder.size_of, "much"), (cache_folder.size_of, "-1GB"), (cache_folder.age_of, "30")):
        with pytest.raises(Failure, match="--keep is no"):
            ask(text, "--keep")
    for given_, expected in (("", 20 * 10**9), ("none", None), ("3 GB", 3 * 10**9)):
        monkeypatch.setenv("LORA_LAB_CACHE_LIMIT", given_)
        assert cache_folder.limit() == expected


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=12),
    st.none() | st.integers(0, 200),
    st.none() | st.integers(0, 10),
    st.none() | st.integers(0, 10),
)
def test_what_goes(made: list[tuple[int, int]], under: int | None, before: int | None, since: int | None) -> None:
    """What is in use never goes; what goes was unused at least as long as what stays; no more goes than need be."""
    found = sorted(
        (Entry(Path(str(n)), "latents", size, used) for n, (size, used) in enumerate(made)), key=lambda one: one.used
    )
    chosen = to_remove(found, keep_under=under, before=before, in_use_since=since)
    stay = [entry for entry in found if entry not in chosen]
    free = [entry for entry in stay if since is None or entry.used < since]
    assert all(since is None or entry.used < since for entry in chosen)
    assert all(before is None or entry.used >= before for entry in free)
    if chosen and free:
        assert max(entry.used for entry in chosen) <= min(entry.used for entry in free)
    left = sum(entry.size for entry in stay)
    if under is not None:
        assert left <= under or not free
    last = [entry for entry in chosen if before is None or entry.used >= before]
    if last:
        assert under is not None
        assert left + last[-1].size > under
    if under is None and before is None:
        assert not chosen


def test_a_running_process_keeps_what_it_used(written: Written, tmp_path: Path) -> None:
    """While another process holds a lease nothing that was used since goes; when it is killed, it may."""
    old, new = written(tmp_path, KEYS[0], [1.0]), written(tmp_path, KEYS[1], [2.0])
    os.utime(old, (time.time() - 100, time.time() - 100))
    assert in_use_since(tmp_path) is None
    script = (
        "import sys, time; from pathlib import Path; from lora_lab.cache_folder import Lease\n"
        "lease = Lease(Path(sys.argv[1])); print('ready', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout as out:
        out.readline()
        os.utime(new)
        gone = remove(to_remove(entries(tmp_path), keep_under=0, in_use_since=in_use_since(tmp_path)))
        assert [entry.path for entry in gone] == [old]
        assert not old.parent.exists()
        process.kill()
    assert in_use_since(tmp_path) is None
    assert not list((tmp_path / "in-use").iterdir())
    assert [entry.path for entry in remove(to_remove(entries(tmp_path), keep_under=0))] == [new]


def test_lease_ends(tmp_path: Path) -> None:
    """The first of several leases counts, as long as it lasts."""
    first = Lease(tmp_path)
    second = Lease(tmp_path)
    since = in_use_since(tmp_path)
    first.end()
    assert since is not None
    assert (in_use_since(tmp_path) or 0) >= since
    second.end()
    assert in_use_since(tmp_path) is None


def _cut(content: bytes) -> bytes:
    return content[:-1]


def _longer(content: bytes) -> bytes:
    return content + b"x"


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _foreign(content: bytes) -> bytes:
    return struct.pack("<Q", 2) + b"{}"


def _huge(content: bytes) -> bytes:
    return b"\xff" * 8 + content


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (bytes, None),
        (_cut, "is damaged"),
        (_longer, "is damaged"),
        (_flipped, "is damaged"),
        (_huge, "is damaged"),
        (lambda content: b"", "is damaged"),
        (lambda content: content.replace(b'"F32"', b'"F64"'), "is damaged"),
        (_foreign, "is another program's file"),
        (lambda content: content.replace(KEYS[0].encode(), KEYS[1].encode()), "is another entry's file"),
    ],
)
def test_faults(written: Written, tmp_path: Path, change: Callable[[bytes], bytes], expected: str | None) -> None:
    """A file that is cut, longer, changed by a bit, another's or no entry at all is told from a sound one."""
    path = written(tmp_path, KEYS[0], [1.0, -2.0], base="b", data="d")
    assert (about(path)["base"], about(path)["data"]) == ("b", "d")
    path.write_bytes(change(path.read_bytes()))
    (entry,) = entries(tmp_path)
    assert fault(entry) == expected


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(written: Written, tmp_path: Path, number: float) -> None:
    """NaN and ∞ are faults though the seal is right; the largest float is none."""
    written(tmp_path, KEYS[0], [1.0, number])
    written(tmp_path, KEYS[1], [3.4028234e38, 0.0])
    first, second = sorted(entries(tmp_path), key=lambda entry: entry.path)
    assert fault(first) == "holds numbers that are not finite"
    assert fault(second) is None


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever a file holds, it is a fault and no traceback."""
    path = tmp_path_factory.mktemp("any") / f"{KEYS[0]}.safetensors"
    path.write_bytes(content)
    assert fault(Entry(path, "latents", len(content), 0.0))
    assert isinstance(about(path), dict)
