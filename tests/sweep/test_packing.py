"""How many runs make a pack, and why."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from lora_lab.config import TrainConfig, check
from lora_lab.lint import Disk
from lora_lab.sweep.footprint import (
    Counts,
    Footprint,
    footprint_from,
    footprint_of,
    key_of,
    kind_of,
    read_footprint,
    write_footprint,
)
from lora_lab.sweep.packing import GIB, MOST, SHARE, Known, Workers, fastest, pack

BASE = {"base_model": "/m", "img_folder": "/d", "output_folder": "/o"}
COUNTS = Counts(100.0, 1_000_000, 3_000_000, 2_000_000, 500_000)
PRINT = Footprint(2 * GIB, GIB, COUNTS, {1: 1.0, 2: 1.5, 4: 2.5})
ONE_EACH = Workers(1, 1)


def config_of(**values: object) -> TrainConfig:
    """Return a config whose adapters take next to nothing of their own, unless asked otherwise."""
    return check({**BASE, "net_dim": 1, "unet_only": True, **values}).config


def known(config: TrainConfig, footprint: Footprint = PRINT, gib: float = 8 / SHARE) -> Mapping[str, Known]:
    """Return a footprint as that of a config, on a machine of so many GiB that 8 of them may be used."""
    return {kind_of(config): Known(footprint, int(gib * GIB))}


def sizes(count: int, config: TrainConfig, footprint: Footprint = PRINT, workers: Workers = ONE_EACH) -> list[int]:
    """Return the sizes of the packs of some equal runs."""
    found = pack([config] * count, known(config, footprint), workers)
    assert sorted(place for one in found.packs for place in one) == list(range(count))
    return [len(one) for one in found.packs]


@pytest.mark.parametrize(
    ("runs", "workers", "expected"),
    [
        (3, ONE_EACH, [3]),
        (5, ONE_EACH, [5]),
        (6, ONE_EACH, [3, 3]),
        (11, ONE_EACH, [4, 4, 3]),
        (8, Workers(2, 1), [4, 4]),
        (3, Workers(4, 1), [1, 1, 1]),
        (4, Workers(2, 2), [1, 1, 1, 1]),  # 4 GiB for each worker: the base and one run
    ],
)
def test_memory_and_workers_decide(runs: int, workers: Workers, expected: list[int]) -> None:
    """Of 8 GiB the base takes 2 and each run a little more than 1: packs of 5 at most, alike in size."""
    assert sizes(runs, config_of(), workers=workers) == expected


def test_what_is_the_adapters_own_counts() -> None:
    """Rank, optimizer and average take memory by their numbers, so that no probe is needed for them."""
    plain = PRINT.of_a_run(config_of(net_dim=64))
    assert plain == GIB + 3_000_000 * 64 * 16
    assert PRINT.of_a_run(config_of(net_dim=64, optimizer_type="Prodigy")) == GIB + 3_000_000 * 64 * 24
    assert PRINT.of_a_run(config_of(net_dim=64, ema_decay=0.9)) == GIB + 3_000_000 * 64 * 20
    assert PRINT.of_a_run(config_of(net_dim=64, unet_only=False)) == GIB + 4_000_000 * 64 * 16
    assert sizes(4, config_of(net_dim=64)) == [1, 1, 1, 1] or sizes(4, config_of(net_dim=64))[0] < 5
    mixed = [config_of(net_dim=dim) for dim in (64, 1, 1, 1, 64)]
    found = pack(mixed, known(mixed[0]), ONE_EACH)
    for places in found.packs:
        assert PRINT.fixed + sum(PRINT.of_a_run(mixed[place]) for place in places) <= 8 * GIB


def test_drawing_needs_room_too() -> None:
    """Where decoding a picture takes more than the steps, it limits the pack: there the tensors stay."""
    wide = Footprint(2 * GIB, 0, COUNTS, {1: 1.0, 2: 1.5}, drawing=3 * GIB)
    assert sizes(4, config_of(net_dim=16, unet_only=True), wide) == [4]
    heavy = config_of(net_dim=32)  # 1.43 GiB of tensors each: two beside the picture
    assert max(sizes(4, heavy, wide)) == 2


@pytest.mark.parametrize(
    ("seconds", "most"),
    [
        ({}, MOST),
        ({1: 1.0, 2: 1.2}, MOST),
        ({1: 1.0, 2: 2.0}, 1),
        ({1: 1.0, 2: 1.96}, 1),
        ({1: 1.0, 2: 1.5, 4: 3.6}, 2),
        ({1: 1.0, 2: 1.5, 4: 2.4}, MOST),
    ],
)
def test_a_pack_must_pay(seconds: dict[int, float], most: int) -> None:
    """Where the machine is busy with one run, or more cost more, packs are small, or none."""
    assert fastest(seconds) == most


def test_it_says_why() -> None:
    """The line says what decided."""
    config = config_of()

    def why(footprint: Footprint, runs: int = 6, workers: Workers = ONE_EACH) -> str:
        return pack([config] * runs, known(config, footprint), workers).why

    assert why(PRINT) == (
        "packs of 3: memory for 5 (2 GiB and 1 for each run, of 8), 6 runs; 2 at once measured 1.33 times as fast as "
        "one by one"
    )
    busy = Footprint(GIB, GIB, COUNTS, {1: 1.0, 2: 2.04})
    assert why(busy) == "one run at a time: two at once take 2.04 times as long, which saves nothing"
    full = Footprint(7 * GIB, GIB, COUNTS)
    assert why(full) == "one run at a time: memory for 1 (7 GiB and 1 for each run, of 8)"
    assert why(PRINT, 3, Workers(3, 1)) == "one run at a time: 3 runs for 3 workers"
    refused = Footprint(GIB, 1, COUNTS, refused=(4, int(8 / SHARE * GIB)))
    assert "packs of 2: memory for" in why(refused)
    assert "it ran out with 4 before" in why(refused)


def test_more_room_than_then_is_tried_again() -> None:
    """What did not fit once is no limit where there is more memory."""
    config = config_of()
    refused = Footprint(GIB, GIB // 8, COUNTS, refused=(8, 8 * GIB))
    assert [len(one) for one in pack([config] * 8, known(config, refused, 8), ONE_EACH).packs] == [4, 4]
    assert [len(one) for one in pack([config] * 8, known(config, refused, 12), ONE_EACH).packs] == [8]


class Measurement:
    """What a probe gives."""

    def __init__(self, peaks: Mapping[int, int]) -> None:
        self.peaks = peaks
        self.seconds = {1: 1.0}
        self.counts = COUNTS
        self.drawing = 5


def test_a_footprint_follows_from_peaks() -> None:
    """What each further adapter takes is the slope; its tensors are taken out of it, so that other ranks follow."""
    config = config_of(net_dim=8)
    tensors = 8 * 3_000_000 * 16
    found = footprint_of(config, Measurement({1: 3 * GIB, 2: 4 * GIB, 4: 6 * GIB}), 99)
    assert (found.fixed, found.member, found.refused) == (2 * GIB, GIB - tensors, None)
    assert found.fixed + found.of_a_run(config) == 3 * GIB
    alone = footprint_of(config, Measurement({1: 3 * GIB}), 99)
    assert (alone.fixed, alone.member, alone.refused) == (3 * GIB - tensors, 0, (2, 99))


def test_footprints_are_kept_by_what_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch, precision, kind of network and the largest bucket decide; seed, rate and rank do not."""
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "d" / "1_x"
    data.mkdir(parents=True)
    Image.new("RGB", (400, 600)).save(data / "1.png")

    def key(**values: object) -> str:
        config = config_of(img_folder=str(tmp_path / "d"), base_model=str(tmp_path), **values)
        return key_of(config, Disk(tmp_path), 2)

    same = key()
    assert same == key(test_seed=5, learning_rate=1e-3, net_dim=64, optimizer_type="Prodigy", max_steps=7)
    others = [
        key(batch_size=2),
        key(mixed_precision="no"),
        key(network_type="loha"),
        key(unet_only=False),
        key(gradient_checkpointing=True),
        key(network_dropout=0.1),
        key(train_resolution=768),
    ]
    assert len({same, *others}) == 8
    Image.new("RGB", (512, 512)).save(data / "2.png")
    changed = key()
    assert changed != same
    write_footprint(same, PRINT)
    assert read_footprint(same) == PRINT
    assert read_footprint(changed) is None
    (tmp_path / "cache" / "packs" / f"{same}.json").write_text('{"fixed": 1}')
    assert read_footprint(same) is None


def test_a_footprint_travels() -> None:
    """What goes over the wire comes back."""
    import json

    from lora_lab.sweep.footprint import as_data

    whole = Footprint(1, 2, COUNTS, {1: 0.5}, 3, (4, 5))
    assert footprint_from(json.loads(json.dumps(as_data(whole)))) == whole
