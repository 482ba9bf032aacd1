"""What goes wrong while training costs as little as it can: one member, not its pack; the last steps, not the run."""

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.tracking.events import Metrics, RunEnded
from lora_lab.train import opening, prepare, step, unfinished
from lora_lab.train.loop import Progress
from lora_lab.train.run import Run, train_run, train_runs

Make = Callable[..., TrainConfig]
TrainPack = Callable[[Sequence[TrainConfig]], list[Any]]
Same = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Automatic states are written after every step."""
    monkeypatch.setattr(unfinished, "SECONDS", 0.0)
    monkeypatch.setattr(unfinished, "COST", 0)


def breaks(monkeypatch: pytest.MonkeyPatch, seed: int, batch: int) -> None:
    """Make the loss of the member with that seed NaN from a batch on."""
    real = step.pack_losses

    def broken(session: Any, members: Any, given: Any) -> torch.Tensor:
        factors = [float("nan") if m.config.test_seed == seed and given.index >= batch else 1.0 for m in members]
        return real(session, members, given) * torch.tensor(factors)

    monkeypatch.setattr(step, "pack_losses", broken)


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_a_member_that_diverges_leaves_the_pack(
    make_config: Make, train_pack_of: TrainPack, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three members the second becomes NaN at step 4: it ends there, and the others end as they do alone."""
    alone = {seed: train(test_seed=seed, max_steps=6, validation_split=0.25) for seed in (1, 3)}
    breaks(monkeypatch, 2, 3)
    configs = [make_config(test_seed=seed, max_steps=6, validation_split=0.25) for seed in (1, 2, 3)]
    first, second, third = train_pack_of(configs)
    assert isinstance(second.result, Failure)
    assert second.result.what == "the loss became nan at step 4"
    assert second.told(RunEnded)[0].status == "FAILED"
    assert list(second.curve("loss")) == [1, 2, 3]
    assert names(second.folder) == []
    for packed, seed in ((first, 1), (third, 3)):
        assert packed.told(RunEnded) == [RunEnded(status="FINISHED")]
        assert packed.curve("loss") == pytest.approx(alone[seed].curve("loss"), rel=1e-4)
        assert packed.curve("val_loss") == pytest.approx(alone[seed].curve("val_loss"), rel=1e-4)
        for name, tensor in alone[seed].tensors.items():
            torch.testing.assert_close(packed.tensors[name], tensor, rtol=1e-3, atol=1e-4)


def test_the_last_good_state_is_kept(
    states: None, make_config: Make, train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NaN at step 4 leaves the state of step 3 under its own name, which the message gives and a run takes."""
    with monkeypatch.context() as patch:
        breaks(patch, 23, 3)
        with pytest.raises(Failure, match=r"nan at step 4; .*last good state is .*at-step00000003-state") as caught:
            train_run(make_config(), folder=tmp_path / "x", record=lambda event: None, progress=lambda p: None)
    assert names(tmp_path / "x") == ["at-step00000003-state"]
    assert str(tmp_path / "x") in caught.value.remedy
    on = train(load_previous_save_state=str(tmp_path / "x" / "at-step00000003-state"), learning_rate=1e-5)
    assert list(on.curve("loss")) == [4, 5, 6]
    assert max(on.curve("lr/unet").values()) <= 1e-5


def test_a_gradient_that_is_no_number(make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finite loss with a NaN gradient ends the run too: its weights are no numbers after that step."""
    real = step.clip_gradients

    def broken(groups: Any, limit: float) -> torch.Tensor:
        return real(groups, limit) * float("nan")

    monkeypatch.setattr(step, "clip_gradients", broken)
    with pytest.raises(Failure, match="the gradient became nan at step 1"):
        train_run(make_config(), folder=tmp_path / "x", record=lambda event: None, progress=lambda p: None)


def test_members_of_other_lengths(make_config: Make, train_pack_of: TrainPack, train: Callable[..., Any]) -> None:
    """A member that plans two steps ends after two, the other goes on to five; both are as alone."""
    short, long = train_pack_of([make_config(max_steps=2), make_config(max_steps=5, test_seed=2)])
    for packed, alone in ((short, train(max_steps=2)), (long, train(max_steps=5, test_seed=2))):
        assert packed.curve("loss") == pytest.approx(alone.curve("loss"), rel=1e-4)
        assert list(packed.curve("lr/unet").values()) == list(alone.curve("lr/unet").values())
        for name, tensor in alone.tensors.items():
            torch.testing.assert_close(packed.tensors[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_pack_goes_on(
    states: None, make_config: Make, train_pack_of: TrainPack, tmp_path: Path, same_tensors: Same
) -> None:
    """A pack ended after step 3 goes on, each member from its own state, to what it would have been, bit for bit."""
    configs = [make_config(test_seed=1, shuffle_captions=True), make_config(test_seed=2, net_dim=2, alpha=1)]
    straight = train_pack_of(configs)
    heard: list[list[Any]] = [[], []]
    runs = [Run(config=c, folder=tmp_path / f"x{n}", record=heard[n].append) for n, c in enumerate(configs)]

    def end_at_four(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_runs(runs, end_at_four)
    notices: list[tuple[str, int | None]] = []
    results = train_runs(runs, lambda p: notices.append((p.message, p.about)) if p.notice else None)
    assert notices == [("going on after step 3 of 6 (last-unfinished-state)", key) for key in (0, 1)]
    for n, (result, whole) in enumerate(zip(results, straight, strict=True)):
        from safetensors.torch import load_file

        assert same_tensors(load_file(result.lora), whole.tensors)
        assert names(tmp_path / f"x{n}") == ["last.safetensors"]
        told = [event.step for event in heard[n] if isinstance(event, Metrics) and "loss" in event.values]
        assert sorted(set(told)) == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def small_disk() -> Iterator[Callable[[int | None], None]]:
    """Return a function that limits how large a file can be; None takes the limit away."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)


def test_a_full_disk(
    states: None,
    small_disk: Callable[[int | None], None],
    make_config: Make,
    train: Callable[..., Any],
    same_tensors: Same,
    tmp_path: Path,
) -> None:
    """Where nothing more can be written training goes on to its end; the last state is whole and the run goes on."""
    config, notices = make_config(), []

    def fill_up(progress: Progress) -> None:
        if progress.notice:
            notices.append(progress.message)
        if progress.step == 3:
            small_disk(1000)

    with pytest.raises(Failure, match=r"last\.safetensors cannot be written: File too large; free some space .*") as e:
        train_run(config, folder=tmp_path / "x", record=lambda event: None, progress=fill_up)
    small_disk(None)
    assert "the same command then goes on from the last state" in e.value.remedy
    assert notices == ["no state to go on from after a crash can be written: File too large"]
    assert names(tmp_path / "x") == ["last-unfinished-state"]
    result = train_run(config, folder=tmp_path / "x", record=lambda event: None, progress=lambda p: None)
    from safetensors.torch import load_file

    assert same_tensors(load_file(result.lora), train().tensors)
    assert names(tmp_path / "x") == ["last.safetensors"]


@pytest.mark.parametrize("cached", [True, False])
def test_a_picture_cut_off(cached: bool, make_config: Make, tmp_path: Path) -> None:
    """A picture whose file ends in the middle is named before the first step, whether latents are cached or not."""
    folder = tmp_path / "pictures" / "1_lumi"
    folder.mkdir(parents=True)
    for number, source in enumerate(sorted(Path(make_config().img_folder).glob("2_lumi/*.png"))[:4]):
        content = source.read_bytes()
        (folder / f"{number}.png").write_bytes(content[: len(content) // 2] if number == 2 else content)
    events: list[Any] = []
    config = make_config(img_folder=str(folder.parent), cache_latents=cached)
    with pytest.raises(Failure, match=r"2\.png cannot be decoded"):
        train_run(config, folder=tmp_path / "x", record=events.append, progress=lambda p: None)
    assert not [event for event in events if isinstance(event, Metrics)]


def test_one_base_in_memory(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base before is gone when the next is loaded."""
    family, base = opening.open_base([make_config()], prepare.make_accelerator("no"))
    gone = weakref.ref(base.unet)
    del base
    alive: list[bool] = []
    real = type(family).load

    def load(self: Any, asked: Any) -> Any:
        alive.append(gone() is not None)
        return real(self, asked)

    monkeypatch.setattr(type(family), "load", load)
    gc.collect()
    opening.open_base([make_config(mixed_precision="bf16")], prepare.make_accelerator("bf16"))
    assert alive == [False]
