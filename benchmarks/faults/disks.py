"""Disks that are full or take nothing, and pictures that change under a run."""

import subprocess
from pathlib import Path

from faults.ground import Ground, Result, judged, one_line

MIB = 1 << 20


def small_disk(folder: Path, size: int = 24 * MIB) -> Path:
    """Mount a small disk (a tmpfs) at a folder; it goes with the script's own view of the mounts."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    return folder


def _mended(ground: Ground, before: dict[str, str]) -> tuple[bool, str]:
    """Make room, give the same command again, and say how it went on."""
    (ground.out / "filler").unlink(missing_ok=True)
    code, said = ground.train()
    kept = all(ground.saved().get(name) == digest for name, digest in before.items())
    on = "going on after step" in said
    return code == 0 and kept and ground.final.exists(), f"then {'went on' if on else 'began anew'} and finished"


def full_at_a_file(folder: Path, _: int) -> Result:
    """No room for the next LoRA file."""
    ground = Ground(folder)
    small_disk(ground.out)
    code, said = ground.train(at=[3], do="fill", folder=str(ground.out), every_step=False)
    before = ground.saved()
    fine, words = _mended(ground, before)
    return judged(ground, said, before, code == 2 and fine, f"{one_line(said)}; {words}")


def full_at_a_state(folder: Path, _: int) -> Result:
    """No room for the state to go on from, and none for what comes after it."""
    ground = Ground(folder, {"save_every_n_steps": None})
    small_disk(ground.out)
    code, said = ground.train(at=[3], do="fill", folder=str(ground.out))
    before = ground.saved()
    notice = "no state to go on from after a crash can be written" in said
    fine, words = _mended(ground, before)
    shown = f"{'a notice, trained on; ' if notice else ''}{one_line(said)}; {words}"
    return judged(ground, said, before, code == 2 and notice and fine, shown)


def full_cache(folder: Path, _: int) -> Result:
    """No room for the cache of latents."""
    ground = Ground(folder, {"cache_latents": True, "cache_latents_to_disk": True})
    small_disk(ground.folder / "cache", 16 * 1024)
    code, said = ground.train()
    good = (code == 2 and "cache" in one_line(said)) or code == 0
    return judged(ground, said, {}, good, "trained without it" if code == 0 else one_line(said))


def full_record(folder: Path, _: int) -> Result:
    """Room for nothing, from the first step on, where the run's record lies; then room again."""
    ground = Ground(folder, {"save_every_n_steps": None})
    small_disk(ground.out)
    code, said = ground.train(at=[1], do="fill", folder=str(ground.out), every_step=False)
    told = "the training goes on without its record" in said
    before = ground.saved()
    fine, words = _mended(ground, before)
    shown = f"{'a warning, trained on; ' if told else ''}{one_line(said)}; {words}"
    return judged(ground, said, before, code == 2 and fine, shown)


def full_tracker(folder: Path, _: int) -> Result:
    """No room for MLflow's database; the run's own folder has some."""
    ground = Ground(folder)
    runs = small_disk(ground.folder / "lora-lab-runs", 64 * 1024)
    (runs / "filler").write_bytes(b"x" * 40 * 1024)
    code, said = ground.train("--tracking-uri", f"sqlite:///{runs}/mlflow.db")
    good = code == 0 and ground.final.exists() and "nothing is lost" in said
    line = next((line for line in said.splitlines() if "tracker" in line), one_line(said))
    return judged(ground, said, {}, good, f"trained to its end; {line[:110]}")


def read_only_from_the_start(folder: Path, _: int) -> Result:
    """The output folder takes nothing."""
    ground = Ground(folder)
    small_disk(ground.out)
    subprocess.run(["mount", "-o", "remount,ro", str(ground.out)], check=True)
    code, said = ground.train()
    return judged(ground, said, {}, code == 2, one_line(said))


def read_only_later(folder: Path, _: int) -> Result:
    """The disk becomes read-only in the middle, as one with errors does."""
    ground = Ground(folder)
    small_disk(ground.out)
    code, said = ground.train(at=[3], do="read_only", folder=str(ground.out))
    before = ground.saved()
    subprocess.run(["umount", str(ground.out)], check=True)
    fine, words = _mended(ground, before)
    return judged(ground, said, before, code == 2 and fine, f"{one_line(said)}; {words}")


def _changing(folder: Path, deed: str, **values: object) -> tuple[Ground, int, str]:
    ground = Ground(folder, {"max_steps": 8, "cache_latents": False, "num_workers": 0, **values})
    code, said = ground.train(at=[4], do=deed, folder=str(ground.pictures))
    return ground, code, said


def pictures_removed(folder: Path, _: int) -> Result:
    """Pictures that are read at each step go."""
    ground, code, said = _changing(folder, "remove")
    return judged(ground, said, {}, code == 2 and "has vanished" in said, one_line(said))


def pictures_rewritten(folder: Path, _: int) -> Result:
    """Pictures that are read at each step get other pixels."""
    ground, code, said = _changing(folder, "rewrite")
    return judged(ground, said, {}, code == 2 and "has changed since" in said, one_line(said))


def pictures_truncated(folder: Path, _: int) -> Result:
    """Pictures that are read at each step are cut off, read by processes of their own."""
    ground, code, said = _changing(folder, "truncate", num_workers=2, max_steps=20)  # more than are read ahead
    good = code == 2 and ("has changed since" in said or "cannot be decoded" in said)
    return judged(ground, said, {}, good, one_line(said))


def pictures_removed_cached(folder: Path, _: int) -> Result:
    """Pictures whose latents are in memory go."""
    ground, code, said = _changing(folder, "remove", cache_latents=True)
    return judged(ground, said, {}, code == 0 and ground.final.exists(), f"exit code {code}, trained from memory")
