"""Masks go the way of their pictures, are kept by content, and are refused where they do not fit."""

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor

from lora_lab.config.buckets import BucketOptions
from lora_lab.failure import Failure
from lora_lab.train.data import masks
from lora_lab.train.data.augment import AugmentOptions
from lora_lab.train.data.batches import AdapterOptions, PackDataset
from lora_lab.train.data.epochs import Arranged, arrange
from lora_lab.train.data.folder import digest, pictures_of, scan
from lora_lab.train.data.masks import Masks, with_masks
from lora_lab.train.data.store import Store

OPTIONS = BucketOptions((64, 64), True, 32, 128, 32)


def picture(path: Path, size: tuple[int, int], alpha: Image.Image | None = None) -> None:
    """Save a picture, with that alpha channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (200, 90, 10))
    if alpha is not None:
        image.putalpha(alpha)
    image.save(path)


def left_half(size: tuple[int, int]) -> Image.Image:
    """White on the left, black on the right."""
    values = numpy.zeros((size[1], size[0]), dtype=numpy.uint8)
    values[:, : size[0] // 2] = 255
    return Image.fromarray(values)


def only(data: Arranged, alpha: bool, mirrored: bool = False) -> Tensor:
    """The mask of the one picture."""
    return Masks(alpha).of(data.pictures[0], data.placements[0], mirrored)


def of_folder(folder: Path, masks_in: Path | None = None) -> Arranged:
    """The pictures of a folder in their buckets."""
    found = pictures_of(scan(folder))
    return arrange(with_masks(found, masks_in) if masks_in else found, OPTIONS, 1)


def test_alpha_in_the_size_of_latents(tmp_path: Path) -> None:
    """The left half counts, the right does not; mirrored the other way round; without the option all counts."""
    picture(tmp_path / "1_a" / "x.png", (128, 128), left_half((128, 128)))
    data = of_folder(tmp_path)
    expected = torch.zeros(1, 8, 8)
    expected[:, :, :4] = 1
    assert torch.equal(only(data, True), expected)
    assert torch.equal(only(data, True, mirrored=True), expected.flip(-1))
    assert torch.equal(only(data, False), torch.ones(1, 8, 8))


def test_half_transparent_is_half(tmp_path: Path) -> None:
    """Greys are shares, and a latent value's is the mean of its pixels."""
    grey = Image.new("L", (64, 64), 51)
    grey.paste(255, (0, 0, 4, 8))
    picture(tmp_path / "1_a" / "x.png", (64, 64), grey)
    mask = only(of_folder(tmp_path), True)
    assert mask[0, 0, 0] == pytest.approx((1 + 0.2) / 2)
    assert mask[0, 5, 5] == pytest.approx(0.2)


def test_mask_is_cropped_with_its_picture(tmp_path: Path) -> None:
    """Of a wide picture in a less wide bucket the sides are cut off, and of its mask too."""
    size = (400, 64)
    alpha = Image.new("L", size, 255)
    alpha.paste(0, (0, 0, 200, 64))
    picture(tmp_path / "1_a" / "x.png", size, alpha)
    data = of_folder(tmp_path)
    placement = data.placements[0]
    assert placement.bucket == (128, 32)
    assert placement.crop[0] == (placement.resized[0] - 128) // 2 > 0
    assert torch.equal(only(data, True)[0, 0].round(), torch.tensor([0.0] * 8 + [1.0] * 8))


def test_no_alpha_channel_is_all(tmp_path: Path) -> None:
    """A picture without transparency is learned whole."""
    picture(tmp_path / "1_a" / "x.jpg", (64, 64))
    assert torch.equal(only(of_folder(tmp_path), True), torch.ones(1, 8, 8))


@pytest.mark.parametrize("place", ["1_a/x.png", "x.png", "1_a/x.JPG"])
def test_folder_of_masks(tmp_path: Path, place: str) -> None:
    """A mask lies in the sub-folder of the picture's or in none, and may have another format; red counts."""
    picture(tmp_path / "img" / "1_a" / "x.png", (64, 64), Image.new("L", (64, 64), 0))
    mask = Image.merge("RGB", [left_half((64, 64)), Image.new("L", (64, 64), 0), Image.new("L", (64, 64), 0)])
    (tmp_path / "masks" / place).parent.mkdir(parents=True)
    mask.save(tmp_path / "masks" / place, quality=100, subsampling=0)
    data = of_folder(tmp_path / "img", tmp_path / "masks")
    found = only(data, True)  # and wins over the alpha channel
    assert torch.allclose(found[0, 0], torch.tensor([1.0] * 4 + [0.0] * 4), atol=0.02)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """No folder, no mask and a mask of another size are one line each that names the file."""
    picture(tmp_path / "img" / "1_a" / "x.png", (64, 64))
    with pytest.raises(Failure, match=r"mask_folder .* does not exist"):
        of_folder(tmp_path / "img", tmp_path / "masks")
    (tmp_path / "masks").mkdir()
    with pytest.raises(Failure, match=r"has no mask for train/1_a/x\.png"):
        of_folder(tmp_path / "img", tmp_path / "masks")
    left_half((64, 32)).save(tmp_path / "masks" / "x.png")
    with pytest.raises(Failure, match="64 × 32 pixels, its picture 64 × 64"):
        of_folder(tmp_path / "img", tmp_path / "masks")


def test_another_mask_is_another_data_set(tmp_path: Path) -> None:
    """The data set's digest is that of before without masks, and another one with each other mask."""
    picture(tmp_path / "img" / "1_a" / "x.png", (64, 64))
    (tmp_path / "masks").mkdir()
    found = pictures_of(scan(tmp_path / "img"))
    digests = [digest(found)]
    for value in (0, 255):
        Image.new("L", (64, 64), value).save(tmp_path / "masks" / "x.png")
        digests.append(digest(with_masks(found, tmp_path / "masks")))
    assert len(set(digests)) == 3


def test_kept_on_disk_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run decodes no mask; another mask under the same name is not taken for the first."""
    picture(tmp_path / "img" / "1_a" / "x.png", (64, 64))
    (tmp_path / "masks").mkdir()
    left_half((64, 64)).save(tmp_path / "masks" / "x.png")
    data = of_folder(tmp_path / "img", tmp_path / "masks")
    first = Masks(False)
    first.fill(data, True, Store(tmp_path / "cache"))
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2
    Image.new("L", (64, 64), 0).save(tmp_path / "masks" / "x.png")
    other = of_folder(tmp_path / "img", tmp_path / "masks")
    changed = Masks(False)
    changed.fill(other, True, Store(tmp_path / "cache"))
    assert changed.of(other.pictures[0], other.placements[0], False).sum() == 0
    monkeypatch.setattr(Masks, "_draw", None)
    again = Masks(False)
    again.fill(data, True, Store(tmp_path / "cache"))
    for side in (False, True):
        place = (data.pictures[0], data.placements[0], side)
        assert torch.equal(again.of(*place), first.of(*place))


def test_batch_has_the_mask_of_each_use(tmp_path: Path) -> None:
    """In a batch of flipped, randomly cropped pixels every mask is where its picture's colours are."""
    size = (64, 64)
    for name in "abc":
        values = numpy.zeros((100, 160, 3), dtype=numpy.uint8)
        values[:, :80] = 255
        (tmp_path / "4_a").mkdir(exist_ok=True)
        image = Image.fromarray(values)
        image.putalpha(left_half((160, 100)))
        image.save(tmp_path / "4_a" / f"{name}.png")
    data = arrange(pictures_of(scan(tmp_path)), BucketOptions(size, False), 3)
    options = AdapterOptions(seed=5, augment=AugmentOptions(flip=True, random_crop=True))
    dataset = PackDataset(data, [options], lambda text, limit: torch.zeros(1, 77), masks=Masks(True))
    sides = set()
    for index in range(data.batches_per_epoch):
        batch = dataset[index]
        assert batch.masks is not None
        assert batch.pixels is not None
        bright = torch.nn.functional.avg_pool2d(batch.pixels[:, :1] / 2 + 0.5, masks.FACTOR)
        assert torch.allclose(batch.masks, bright, atol=0.02)
        sides |= {bool(mask[0, 0, 0] > 0.5) for mask in batch.masks}
    assert sides == {False, True}
