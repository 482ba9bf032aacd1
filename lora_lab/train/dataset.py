"""The pictures of a run: read, split, masked, balanced, and placed in the buckets of their data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lora_lab.config import TrainConfig
from lora_lab.config.buckets import Size, bucket_options
from lora_lab.config.data_sets import DataSet, Subset
from lora_lab.document.data_sets import data_sets_of
from lora_lab.failure import Failure
from lora_lab.train.data import folder, tags
from lora_lab.train.data.epochs import Arranged, arrange, joined
from lora_lab.train.data.folder import Picture, Reading
from lora_lab.train.data.masks import with_masks
from lora_lab.train.data.split import split_validation
from lora_lab.train.data.twins import twins
from lora_lab.train.metadata import DatasetFacts


@dataclass(frozen=True)
class Dataset:
    """The pictures of a run, split and placed in buckets; `sets` are those of a data set file, if there is one."""

    training: Arranged
    validation: Arranged | None
    facts: DatasetFacts
    pictures: tuple[Picture, ...]
    sets: tuple[DataSet, ...] = ()

    def parts_of(self, config: TrainConfig) -> tuple[TrainConfig, ...]:
        """Return the settings of a run for each folder of the data set file, by the number of its pictures' `part`."""
        return tuple(subset.of(config) for one in self.sets for subset in one.subsets)


class _Group(NamedTuple):
    """One data set: its settings, the numbers of its folders, and all its pictures with those for regularisation."""

    config: TrainConfig
    parts: range
    pictures: tuple[Picture, ...]

    def among(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Return those of the pictures that are in its folders."""
        return [picture for picture in pictures if picture.part in self.parts]


def read_dataset(config: TrainConfig, together: int = 1) -> Dataset:
    """Read the folders of a config, hold out validation pictures, and place everything in buckets.

    A batch is what so many processes learn from together, `batch_size` pictures each.
    Raises Failure when a folder, picture or data set file can't be used.
    """
    sets = data_sets_of(Path(config.dataset_config)) if config.dataset_config else ()
    groups = _named(config, sets) if sets else [_scanned(config)]
    every = tuple(picture for group in groups for picture in group.pictures)
    shares = [group.config.validation_split for group in groups for _ in group.parts]
    same = twins(every) if any(shares) else None
    kept, held_out = split_validation(every, shares, groups[0].config.validation_seed, same)
    training = _arranged([(one.config, _balanced(one.among(kept))) for one in groups], together)
    if not training.uses_per_epoch:
        raise Failure("no picture is left to train on", "lower validation_split or add pictures")
    validation = _arranged([(one.config, one.among(held_out)) for one in groups], 1) if held_out else None
    facts = _facts(training, together, _described(config, sets, training))
    return Dataset(training, validation, facts, tuple(one for one in every if not one.is_reg), sets)


def _scanned(config: TrainConfig) -> _Group:
    """Return the pictures of `img_folder` and `reg_img_folder`."""
    read = Reading(config.caption_extension, every_line=config.enable_wildcard)
    pictures = _masked(config, folder.pictures_of(folder.scan(Path(config.img_folder), read)))
    if config.reg_img_folder:
        own = folder.pictures_of(folder.scan(Path(config.reg_img_folder), read, is_reg=True))
        pictures += tuple(replace(one, alpha=config.alpha_mask) for one in own)
    return _Group(config, range(1), pictures)


def _named(config: TrainConfig, sets: Sequence[DataSet]) -> list[_Group]:
    """Return the pictures of each data set of a file."""
    groups, names = [], Counter[str]()
    for one in sets:
        start = sum(names.values())
        pictures: list[Picture] = []
        for subset in one.subsets:
            part, name = sum(names.values()), subset.folder.name
            names[name] += 1
            label = name if names[name] == 1 else f"{name} ({names[name]})"  # items are drawn for by their names
            pictures += [replace(found, subset=label, part=part) for found in _of_subset(config, subset)]
        groups.append(_Group(one.of(config), range(start, sum(names.values())), tuple(pictures)))
    return groups


def _of_subset(config: TrainConfig, subset: Subset) -> tuple[Picture, ...]:
    own = subset.of(config)
    read = Reading(own.caption_extension, every_line=own.enable_wildcard)
    found = folder.read_folder(subset.folder, read, subset.repeats, subset.class_tokens, subset.is_reg)
    if subset.is_reg:
        return tuple(replace(one, alpha=own.alpha_mask) for one in found.pictures)
    return _masked(own, found.pictures)


def _masked(config: TrainConfig, pictures: tuple[Picture, ...]) -> tuple[Picture, ...]:
    """Return pictures with where their loss looks; with `alpha_mask` alone that is their alpha channel too."""
    if config.masked_loss and config.mask_folder:
        return with_masks(pictures, Path(config.mask_folder))
    if config.masked_loss and not config.alpha_mask:
        raise Failure("masked_loss has no masks", "name mask_folder, or set alpha_mask to true")
    return tuple(replace(picture, alpha=config.alpha_mask) for picture in pictures)


def _balanced(pictures: Sequence[Picture]) -> list[Picture]:
    training = [picture for picture in pictures if not picture.is_reg]
    regularisation = [picture for picture in pictures if picture.is_reg]
    return [*training, *folder.balance_regularisation(training, regularisation)]


def _arranged(groups: Sequence[tuple[TrainConfig, Sequence[Picture]]], together: int) -> Arranged:
    return joined([arrange(own, bucket_options(config), config.batch_size * together) for config, own in groups])


def _facts(data: Arranged, together: int, sets: Sequence[Mapping[str, object]]) -> DatasetFacts:
    training = [picture for picture in data.pictures if not picture.is_reg]
    regularisation = [picture for picture in data.pictures if picture.is_reg]
    buckets = Counter[Size]()
    for bucket in data.buckets:
        buckets[bucket.size] += len(bucket.entries)
    return DatasetFacts(
        train_images=sum(picture.repeats for picture in training),
        reg_images=sum(picture.repeats for picture in regularisation),
        batches_per_epoch=data.batches_per_epoch,
        dirs=_dirs(training),
        reg_dirs=_dirs(regularisation),
        tag_frequency=tags.tag_frequency(training),
        buckets=buckets,
        mean_ar_error=_mean_ar_error(data),
        processes=together,
        sets=sets,
    )


def _dirs(pictures: Sequence[Picture]) -> dict[str, dict[str, int]]:
    counts = Counter((picture.path.parent.name, picture.repeats) for picture in pictures)
    return {name: {"n_repeats": repeats, "img_count": count} for (name, repeats), count in sorted(counts.items())}


def _mean_ar_error(data: Arranged) -> float:
    errors = [
        abs(picture.width / picture.height - placement.bucket[0] / placement.bucket[1])
        for picture, placement in zip(data.pictures, data.placements, strict=True)
    ]
    return sum(errors) / len(errors)


def _described(config: TrainConfig, sets: Sequence[DataSet], data: Arranged) -> list[Mapping[str, object]]:
    """Return `ss_datasets` as sd-scripts' train_network.py writes it."""
    part = 0
    found: list[Mapping[str, object]] = []
    for number, one in enumerate(sets):
        own, subsets = one.of(config), []
        for subset in one.subsets:
            pictures = [picture for picture in data.pictures if picture.part == part]
            subsets.append(_of_metadata(subset, subset.of(config), pictures))
            part += 1
        buckets = [bucket for bucket in data.buckets if bucket.data_set == number]
        found.append(
            {
                "is_dreambooth": True,
                "batch_size_per_device": own.batch_size,
                "resolution": list(own.resolution),
                "enable_bucket": own.buckets,
                "bucket_no_upscale": own.bucket_no_upscale,
                "min_bucket_reso": own.min_bucket_resolution,
                "max_bucket_reso": own.max_bucket_resolution,
                "bucket_info": {
                    "buckets": {
                        str(place): {"resolution": list(bucket.size), "count": len(bucket.entries)}
                        for place, bucket in enumerate(buckets)
                    }
                },
                "subsets": subsets,
            }
        )
    return found


def _of_metadata(subset: Subset, own: TrainConfig, pictures: Sequence[Picture]) -> dict[str, object]:
    return {
        "img_count": len(pictures),
        "num_repeats": subset.repeats,
        "image_dir": subset.folder.name,
        "class_tokens": subset.class_tokens or None,
        "is_reg": subset.is_reg,
        "color_aug": own.color_aug,
        "flip_aug": own.flip_aug,
        "random_crop": own.random_crop,
        "shuffle_caption": own.shuffle_captions,
        "keep_tokens": own.keep_tokens,
        "keep_tokens_separator": own.keep_tokens_separator,
        "secondary_separator": own.secondary_separator,
        "enable_wildcard": own.enable_wildcard,
        "caption_prefix": own.caption_prefix,
        "caption_suffix": own.caption_suffix,
    }
