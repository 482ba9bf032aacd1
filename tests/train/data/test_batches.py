"""Pack batches: the same for any number of workers, and for each adapter the same as on its own."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor

from lora_lab.config import check
from lora_lab.config.buckets import BucketOptions, bucket_options
from lora_lab.failure import Failure
from lora_lab.train.data import augment, batches, caption
from lora_lab.train.data.augment import AugmentOptions
from lora_lab.train.data.batches import AdapterOptions, PackBatch, PackDataset, ValidationDataset, in_order, loader
from lora_lab.train.data.caption import CaptionOptions
from lora_lab.train.data.epochs import Arranged, arrange
from lora_lab.train.data.folder import balance_regularisation, pictures_of, scan
from lora_lab.train.data.latent_cache import CacheOptions, LatentId, fill, items_of

PLAIN = AdapterOptions(seed=1)
OTHER = AdapterOptions(
    seed=2,
    captions=CaptionOptions(shuffle=True, keep_tokens=1, tag_dropout_rate=0.3),
    augment=AugmentOptions(flip=True),
    max_clip_token_length=150,
    prior_loss_weight=0.25,
)


def tokenize(text: str, limit: int) -> Tensor:
    """A stand-in for the tokenizer: character codes in chunks."""
    codes = [ord(letter) for letter in text][: limit + 2]
    return torch.tensor(codes + [0] * (limit // 75 * 77 - len(codes))).view(-1, 77)


def encode(pixels: Tensor) -> tuple[Tensor, None]:
    """A stand-in for the VAE."""
    return torch.nn.functional.avg_pool2d(pixels, 8), None


def _draw(folder: Path, name: str, size: tuple[int, int], seed: int, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
    Image.fromarray(values).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(text)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Arranged:
    """Seven pictures of two shapes, twice each, and regularisation pictures; batches of 3."""
    root = tmp_path_factory.mktemp("data")
    for n in range(7):
        size = (64, 64) if n < 4 else (72, 100)
        _draw(root / "img" / "2_lumi", f"p{n}", size, n, f"lumi, one{n}, two, three, four")
    for n in range(3):
        _draw(root / "reg" / "1_cat", f"r{n}", (64, 64), 100 + n, "cat")
    training = pictures_of(scan(root / "img"))
    regularisation = balance_regularisation(training, pictures_of(scan(root / "reg", is_reg=True)))
    return arrange((*training, *regularisation), BucketOptions((64, 64), True, 32, 128, 16), 3)


@pytest.fixture(scope="module")
def latents(data: Arranged) -> Mapping[LatentId, Tensor]:
    """Latents of all pictures, mirrored too."""
    return fill(items_of(data.pictures, data.placements, True), CacheOptions("v"), encode).latents


def _same(first: PackBatch, second: PackBatch) -> bool:
    def equal(one: object, other: object) -> bool:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return torch.equal(one, other)
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(equal, one, other))
        return one == other

    return all(equal(value, vars(second)[name]) for name, value in vars(first).items())


def test_shapes_and_fields(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """Every tensor is adapter after adapter; token tensors are per adapter with its own number of chunks."""
    dataset = PackDataset(data, [PLAIN, OTHER], tokenize, latents)
    assert len(data.buckets) == 2
    for index in range(data.batches_per_epoch):
        batch = dataset[index]
        (width, height), b = batch.bucket, len(batch.captions[0])
        assert batch.latents is not None
        assert batch.pixels is None
        assert batch.latents.shape == (2 * b, 3, height // 8, width // 8)
        assert [tuple(ids.shape) for ids in batch.token_ids] == [(b, 1, 77), (b, 2, 77)]
        assert batch.weights.shape == (2 * b,)
        assert batch.original_sizes.shape == batch.crops.shape == (2 * b, 2)
        assert len(batch.items) == len(batch.captions) == 2
        for adapter, ids in enumerate(batch.token_ids):
            limit = (75, 150)[adapter]
            assert torch.equal(ids, torch.stack([tokenize(text, limit) for text in batch.captions[adapter]]))


def test_an_epoch_shows_each_adapter_every_picture(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """Both adapters see each use once per epoch, in different orders, at their own loss weight."""
    dataset = PackDataset(data, [PLAIN, OTHER], tokenize, latents)
    pack = [dataset[index] for index in range(data.batches_per_epoch)]
    wanted = sorted(f"{p.item}#{n}" for p in data.pictures for n in range(p.repeats))
    orders = [[item for batch in pack for item in batch.items[adapter]] for adapter in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == wanted
    assert orders[0] != orders[1]
    assert [batch.epoch for batch in pack] == [1] * len(pack)
    assert dataset[data.batches_per_epoch].epoch == 2
    for batch in pack:
        items = batch.items[0] + batch.items[1]
        reduced = [1.0] * len(batch.items[0]) + [0.25] * len(batch.items[1])
        expected = [low if item.startswith("reg/") else 1.0 for item, low in zip(items, reduced, strict=True)]
        assert batch.weights.tolist() == expected


def test_latents_belong_to_their_pictures(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """Each latent is that of the named picture, mirrored in about half of the flipping adapter's uses only."""
    by_item = {one.item: (one, place) for one, place in zip(data.pictures, data.placements, strict=True)}
    dataset = PackDataset(data, [PLAIN, OTHER], tokenize, latents)
    mirrored = [0, 0]
    uses = 0
    for index in range(10 * data.batches_per_epoch):
        batch = dataset[index]
        assert batch.latents is not None
        b = len(batch.items[0])
        for row, item in enumerate(batch.items[0] + batch.items[1]):
            picture, place = by_item[re.sub(r"#\d+$", "", item)]
            sides = [torch.equal(batch.latents[row], latents[picture.digest, place, side]) for side in (False, True)]
            assert sum(sides) == 1
            mirrored[row // b] += sides[1]
        uses += b
    assert mirrored[0] == 0
    assert abs(mirrored[1] / uses - 0.5) < 0.12


def test_packing_changes_nothing(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """In a pack each adapter gets exactly the batch that it gets alone."""
    pack = PackDataset(data, [PLAIN, OTHER, PLAIN], tokenize, latents)
    alone = [PackDataset(data, [options], tokenize, latents) for options in (PLAIN, OTHER, PLAIN)]
    for index in range(2 * data.batches_per_epoch):
        whole = pack[index]
        parts = [dataset[index] for dataset in alone]
        assert whole.latents is not None
        assert torch.equal(whole.latents, torch.cat([part.latents for part in parts if part.latents is not None]))
        assert all(torch.equal(ids, part.token_ids[0]) for ids, part in zip(whole.token_ids, parts, strict=True))
        assert whole.captions == [part.captions[0] for part in parts]
        assert torch.equal(whole.weights, torch.cat([part.weights for part in parts]))
        assert {part.bucket for part in parts} == {whole.bucket}


def test_batches_have_no_memory(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """Asked for backwards, a fresh data set gives the same batches: resuming is starting at a number."""
    numbers = range(3 * data.batches_per_epoch)
    forwards = PackDataset(data, [PLAIN, OTHER], tokenize, latents)
    straight = [forwards[index] for index in numbers]
    backwards = PackDataset(data, [PLAIN, OTHER], tokenize, latents)
    assert all(_same(backwards[index], straight[index]) for index in reversed(numbers))


def test_draws_differ_between_seeds_epochs_and_uses(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """Captions and mirroring of a use are drawn anew for each seed, each epoch, each picture and each repeat."""
    changing = replace(OTHER, captions=CaptionOptions(shuffle=True, keep_tokens=2))
    dataset = PackDataset(data, [changing, replace(changing, seed=3)], tokenize, latents)
    pairs = zip(data.pictures, data.placements, strict=True)
    plain = {one.digest: latents[one.digest, place, False] for one, place in pairs}
    digests = {p.item: p.digest for p in data.pictures}
    tails: dict[tuple[int, int, str], tuple[str, bool]] = {}
    for index in range(2 * data.batches_per_epoch):
        batch = dataset[index]
        assert batch.latents is not None
        rows = [(k, item, text) for k in (0, 1) for item, text in zip(batch.items[k], batch.captions[k], strict=True)]
        for row, (adapter, item, text) in enumerate(rows):
            mirrored = not torch.equal(batch.latents[row], plain[digests[item.split("#")[0]]])
            tails[adapter, batch.epoch, item] = (", ".join(text.split(", ")[2:]), mirrored)
    train = sorted({item for _, _, item in tails if item.startswith("train/")})
    assert len(train) == 14
    seen = {(k, epoch): [tails[k, epoch, item] for item in train] for k in (0, 1) for epoch in (1, 2)}
    for part in (0, 1):  # the shuffled tail, the mirroring
        every = [tuple(pair[part] for pair in pairs) for pairs in seen.values()]
        assert len(set(every)) == 4
        assert all(len(set(one)) > 1 for one in every)
        repeats = [one[place : place + 2] for one in every for place in range(0, 14, 2)]
        assert any(first != second for first, second in repeats)


def test_persistent_workers_without_workers(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """With no workers there is nothing to keep alive; that is no error."""
    assert len(list(loader(PackDataset(data, [PLAIN], tokenize, latents), range(2), 0, True))) == 2


@pytest.mark.parametrize("cached", [True, False])
def test_workers_change_nothing(data: Arranged, latents: Mapping[LatentId, Tensor], cached: bool) -> None:
    """None or two worker processes: the same batches, bit for bit, and torch's global generator stays put."""
    other = OTHER if cached else replace(OTHER, augment=AugmentOptions(True, True, True))
    dataset = PackDataset(data, [PLAIN, other], tokenize, latents if cached else None)
    numbers = range(2, data.batches_per_epoch + 3)
    before = torch.get_rng_state()
    without = list(loader(dataset, numbers))
    with_two = list(loader(dataset, numbers, num_workers=2, persistent_workers=True))
    assert torch.equal(before, torch.get_rng_state())
    assert [batch.index for batch in without] == list(numbers)
    assert len(without) == len(with_two)
    assert all(_same(one, other) for one, other in zip(without, with_two, strict=True))


def test_pixels_where_latents_are_not_cached(data: Arranged) -> None:
    """Without latents each use is decoded: pixels in [-1, 1] at the bucket's size; augmentation changes some."""
    changing = AdapterOptions(1, augment=AugmentOptions(color=True, random_crop=True))
    dataset = PackDataset(data, [PLAIN, changing], tokenize)
    differing = 0
    for index in range(data.batches_per_epoch):
        batch = dataset[index]
        assert batch.latents is None
        assert batch.pixels is not None
        b = len(batch.items[0])
        assert batch.items[0] == batch.items[1]
        assert batch.pixels.shape == (2 * b, 3, batch.bucket[1], batch.bucket[0])
        assert float(batch.pixels.abs().max()) <= 1
        differing += sum(not torch.equal(batch.pixels[row], batch.pixels[b + row]) for row in range(b))
    assert 0 < differing < data.uses_per_epoch


def test_crops_and_sizes_are_told(data: Arranged) -> None:
    """original_sizes are (height, width) of the file; crops (top, left) of the cut."""
    dataset = PackDataset(data, [PLAIN], tokenize)
    seen = set()
    for index in range(data.batches_per_epoch):
        batch = dataset[index]
        rows = zip(batch.original_sizes.tolist(), batch.crops.tolist(), strict=True)
        seen |= {(batch.bucket, tuple(size), tuple(crop)) for size, crop in rows}
    # 72×100 (0.72): of the buckets 64×64 (1), 48×80 (0.6) and 32×128 the second is nearest; 57.6×80 covers it
    assert seen == {((64, 64), (64, 64), (0, 0)), ((48, 80), (100, 72), (0, 5))}


def test_crops_of_mirrored_pictures_are_mirrored(tmp_path: Path) -> None:
    """3 columns are left over: 1 is cut on the left, so 2 on the left of the mirrored picture."""
    _draw(tmp_path / "20_a", "x", (67, 64), 1, "a")
    data = arrange(pictures_of(scan(tmp_path)), BucketOptions((64, 64), True, 64, 64, 64), 1)
    dataset = PackDataset(data, [AdapterOptions(1, augment=AugmentOptions(flip=True))], tokenize)
    seen = {}
    for index in range(data.batches_per_epoch):
        batch = dataset[index]
        assert batch.pixels is not None
        seen[tuple(batch.crops[0].tolist())] = batch.pixels[0]
    assert set(seen) == {(0, 1), (0, 2)}
    assert torch.equal(seen[0, 1], seen[0, 2].flip(-1))


@pytest.mark.parametrize(("options", "key"), [({"color": True}, "color_aug"), ({"random_crop": True}, "random_crop")])
def test_cached_latents_exclude_pixel_augmentation(
    data: Arranged, latents: Mapping[LatentId, Tensor], options: dict[str, bool], key: str
) -> None:
    """What would silently do nothing is refused, with the setting to change."""
    adapter = AdapterOptions(1, augment=AugmentOptions(**options))
    with pytest.raises(Failure, match=key) as failure:
        PackDataset(data, [adapter], tokenize, latents)
    assert "cache_latents" in failure.value.remedy


def test_a_vanished_picture_is_named(tmp_path: Path) -> None:
    """A file removed after the start gives one line with its name when it is needed."""
    _draw(tmp_path / "1_a", "x", (64, 64), 1, "a")
    data = arrange(pictures_of(scan(tmp_path)), BucketOptions((64, 64), True, 32, 128, 16), 1)
    (tmp_path / "1_a" / "x.png").unlink()
    with pytest.raises(Failure, match=r"x\.png has vanished"):
        PackDataset(data, [PLAIN], tokenize)[0]


def test_validation_shows_all_adapters_the_same(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """Every picture once, whatever its repeats; captions verbatim; nothing mirrored; weight 1."""
    dataset = ValidationDataset(data, [PLAIN, OTHER], tokenize, latents)
    pack = [dataset[index] for index in range(len(dataset))]
    for batch in pack:
        assert batch.items[0] == batch.items[1]
        assert batch.captions[0] == batch.captions[1]
        assert [ids.shape[1] for ids in batch.token_ids] == [1, 2]
        assert set(batch.weights.tolist()) == {1.0}
        assert batch.latents is not None
        first, second = batch.latents.chunk(2)
        assert torch.equal(first, second)
    assert sorted(item for batch in pack for item in batch.items[0]) == sorted(p.item for p in data.pictures)
    assert {text for batch in pack for text in batch.captions[0]} == {p.caption for p in data.pictures}
    assert max(len(batch.items[0]) for batch in pack) == data.buckets[0].batch_size


def test_warm_up_goes_by_optimizer_steps(data: Arranged) -> None:
    """With two batches a step, a tag more is shown after every second batch, and an odd last batch is a step."""
    options = CaptionOptions(keep_tokens=1, warmup_min=0, warmup_steps=4)
    dataset = PackDataset(data, [AdapterOptions(seed=1, captions=options, gradient_acc_steps=2)], tokenize)
    per_epoch = data.batches_per_epoch
    shown: dict[int, set[int]] = {}
    for index in range(per_epoch + 3):
        epoch, position = divmod(index, per_epoch)
        step = epoch * ((per_epoch + 1) // 2) + position // 2
        texts = [text for text in dataset[index].captions[0] if text.startswith("lumi")]
        shown[step] = shown.get(step, set()) | {text.count(",") for text in texts}
    assert all(counts <= {min(step, 4)} for step, counts in shown.items())
    assert set().union(*shown.values()) >= {0, 2, 4}


def test_validation_has_each_adapters_own_text(data: Arranged, latents: Mapping[LatentId, Tensor]) -> None:
    """Held-out captions have the prefix of the run that is judged, and nothing is shuffled or dropped."""
    prefixed = CaptionOptions(prefix="p,", shuffle=True, dropout_rate=0.5)
    held_out = ValidationDataset(data, [PLAIN, AdapterOptions(seed=3, captions=prefixed)], tokenize, latents)
    for number in range(len(held_out)):
        plain, own = held_out[number].captions
        assert own == [f"p, {text}" for text in plain]
        assert held_out[number].items[0] == held_out[number].items[1]


def test_options_come_from_the_config() -> None:
    """Every data setting of a config arrives where it belongs."""
    values: dict[str, object] = {
        "base_model": "base",
        "img_folder": "img",
        "output_folder": "out",
        "caption_dropout_rate": 0.1,
        "caption_dropout_every_n_epochs": 4,
        "caption_tag_dropout_rate": 0.2,
        "shuffle_captions": True,
        "keep_tokens": 2,
        "test_seed": 99,
        "prior_loss_weight": 0.5,
        "max_clip_token_length": 225,
        "train_resolution": 768,
        "min_bucket_resolution": 320,
        "max_bucket_resolution": 1280,
        "bucket_reso_steps": 32,
        "bucket_no_upscale": True,
        "flip_aug": True,
        "random_crop": True,
        "caption_prefix": "lumi,",
        "caption_suffix": ", drawn",
        "keep_tokens_separator": "|||",
        "secondary_separator": ";;;",
        "enable_wildcard": True,
        "token_warmup_min": 3,
        "token_warmup_step": 0.25,
        "gradient_acc_steps": 4,
    }
    config = check(values).config
    captions = CaptionOptions(
        shuffle=True,
        keep_tokens=2,
        dropout_rate=0.1,
        dropout_every_n_epochs=4,
        tag_dropout_rate=0.2,
        prefix="lumi,",
        suffix=", drawn",
        keep_separator="|||",
        secondary_separator=";;;",
        wildcards=True,
        warmup_min=3,
        warmup_steps=50,
    )
    assert caption.from_config(config, 203) == captions
    assert bucket_options(config) == BucketOptions((768, 768), True, 320, 1280, 32, True)
    flips = AugmentOptions(color=False, flip=True, random_crop=True)
    assert augment.from_config(config) == flips
    assert batches.from_config(config, 203) == AdapterOptions(99, captions, flips, 225, 0.5, 4)
    empty = check({"base_model": "base", "img_folder": "img", "output_folder": "out", "keep_tokens": None}).config
    assert caption.from_config(empty, 203) == CaptionOptions()
    assert bucket_options(empty) == BucketOptions()
    assert batches.from_config(empty, 203) == AdapterOptions(seed=23)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanishes_is_told_in_a_line(workers: int, data: Arranged) -> None:
    """Whoever reads it: a process of its own adds no traceback to what it says."""
    gone = replace(data, pictures=tuple(replace(one, path=Path("gone.png")) for one in data.pictures))
    made = PackDataset(gone, [AdapterOptions(1)], _tokens)
    with pytest.raises(Failure) as caught:
        next(in_order(loader(made, range(2), workers)))
    assert str(caught.value).startswith("gone.png has vanished; put the picture back")
    assert "\n" not in str(caught.value)


def _tokens(text: str, limit: int) -> Tensor:
    return torch.zeros(1, 77, dtype=torch.int64)
