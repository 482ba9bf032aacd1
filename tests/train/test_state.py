"""Training states: whole or not at all, only where they belong, never executed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.train.state import load_state, save_state
from lora_lab.train.step import Member, pack_step

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]


def trained(opened: Any, count: int = 2) -> Member:
    """The only member of a pack after some steps."""
    for number in range(count):
        pack_step(opened.session, opened.members, [opened.data.training[number]])
    (member,) = opened.members
    return member


@pytest.fixture
def state(open_pack: Open, make_config: Make, tmp_path: Path) -> Path:
    """The state of a quick run after two steps."""
    path = tmp_path / "last-state"
    save_state(path, trained(open_pack(make_config())), 2, 1)
    return path


def test_everything_comes_back(open_pack: Open, make_config: Make, tmp_path: Path) -> None:
    """Weights, optimizer, schedule, losses of the epoch: a fresh member is the saved one after loading."""
    member = trained(open_pack(make_config()))
    member.journal.latest["val_loss"] = 0.5
    member.journal.epoch_losses += [1.0, 2.0]
    save_state(tmp_path / "x-state", member, 2, 1)
    wanted = [p.detach().clone() for _, w in member.layers for p in (w.down, w.up)]
    moments, position = member.optimizer.state_dict(), member.schedule.state_dict()
    (fresh,) = open_pack(make_config()).members
    assert load_state(tmp_path / "x-state", fresh) == 2
    found = [p for _, w in fresh.layers for p in (w.down, w.up)]
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert all(p.requires_grad for p in found)
    torch.testing.assert_close(fresh.optimizer.state_dict()["state"], moments["state"], rtol=0, atol=0)
    assert [group["lr"] for group in fresh.optimizer.param_groups] == [g["lr"] for g in member.optimizer.param_groups]
    assert fresh.schedule.state_dict() == position
    assert fresh.journal.latest == {"val_loss": 0.5}
    assert fresh.journal.epoch_losses == [1.0, 2.0]


def test_train_state_file(state: Path) -> None:
    """A state folder has sd-scripts' train_state.json, and nothing lies beside the folder."""
    assert json.loads((state / "train_state.json").read_text()) == {"current_epoch": 1, "current_step": 2}
    assert list(state.parent.glob("*state*")) + list(state.parent.glob(".*")) == [state]


def test_older_state_is_replaced(state: Path, open_pack: Open, make_config: Make) -> None:
    """Saving again under the same name replaces the folder, whatever a crash left beside it."""
    (state / "left").write_text("over")
    for name in (f".{state.name}.old", f".{state.name}.partial"):
        (state.parent / name).mkdir()
        (state.parent / name / "left").write_text("over")
    save_state(state, trained(open_pack(make_config()), 1), 7, 3)
    assert sorted(path.name for path in state.iterdir()) == ["train_state.json", "training.pt"]
    assert json.loads((state / "train_state.json").read_text())["current_step"] == 7
    assert not list(state.parent.glob(".*"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"net_dim": 8}, "made with net_dim 4, the config has 8"),
        ({"alpha": 1.0}, r"made with alpha 2\.0, the config has 1\.0"),
        ({"optimizer_type": "SGDNesterov"}, "made with optimizer_type AdamW, the config has SGDNesterov"),
        ({"scheduler": "plateau"}, "made with scheduler cosine, the config has plateau"),
        ({"unet_only": True}, "adapts other layers"),
    ],
)
def test_state_of_another_run(
    state: Path, open_pack: Open, make_config: Make, values: dict[str, object], message: str
) -> None:
    """A state is refused where it would load and train something else; the adapter is left as it was."""
    (member,) = open_pack(make_config(**values)).members
    with pytest.raises(Failure, match=message) as caught:
        load_state(state, member)
    assert str(state) in str(caught.value)
    assert not any(weights.up.any() for _, weights in member.layers)


class Code:
    """An object whose unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.marker, "executed"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("training.pt", b""),
        ("training.pt", b"not a state"),
        ("train_state.json", b"{"),
        ("train_state.json", b"[]"),
        ("train_state.json", b'{"current_step": "two"}'),
        ("train_state.json", b'{"current_step": null}'),
    ],
)
def test_damaged(state: Path, open_pack: Open, make_config: Make, name: str, content: bytes) -> None:
    """A damaged state is refused by name."""
    (state / name).write_bytes(content)
    (member,) = open_pack(make_config()).members
    with pytest.raises(Failure, match="last-state is damaged"):
        load_state(state, member)


def test_state_of_something_else(state: Path, open_pack: Open, make_config: Make, tmp_path: Path) -> None:
    """Files that hold other things, or code, are refused, and the code did not run."""
    (member,) = open_pack(make_config()).members
    for content in ({"weights": {}}, [1], torch.zeros(2), Code(tmp_path / "marker")):
        torch.save(content, state / "training.pt")
        with pytest.raises(Failure, match="last-state is damaged"):
            load_state(state, member)
    assert not (tmp_path / "marker").exists()
    with pytest.raises(Failure, match="nowhere is not a state folder"):
        load_state(tmp_path / "nowhere", member)
