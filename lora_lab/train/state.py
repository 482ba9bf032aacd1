"""Training states: a folder from which a run goes on exactly where it was.

Randomness has no state (see `draws`), so weights, optimizer, schedule and the step number are all there is.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lora_lab.config import effective_alpha, effective_conv_alpha
from lora_lab.failure import Failure
from lora_lab.train.base_files.archives import refuse_bomb
from lora_lab.train.optimizer import optimizer_name
from lora_lab.train.step import Member
from lora_lab.whole_files import whole_folder

TENSORS, POSITION = "training.pt", "train_state.json"
STARTING_POINTS = ("lora_model_for_resume", "load_previous_save_state")
"""Keys that name what a run starts from."""


def save_state(path: Path, member: Member, step: int, epoch: int, notes: Mapping[str, str] | None = None) -> None:
    """Write the state of one adapter after `step` optimizer steps; the folder appears whole or not at all.

    `notes` are texts by file name that go with it. Raises OSError.
    """
    state = {
        "made_by": _made_by(member),
        "weights": {name: {k: t.detach().cpu() for k, t in w.named_parameters()} for name, w in member.layers},
        "optimizer": member.optimizer.state_dict(),
        "schedule": member.schedule.state_dict(),
        "scaler": member.scaler.state_dict(),
        "average": member.average.state_dict() if member.average else None,
        "journal": {"latest": member.journal.latest, "epoch_losses": member.journal.epoch_losses},
    }
    content = io.BytesIO()  # not the file itself: of a full disk torch's writer makes a RuntimeError
    torch.save(state, content)
    with whole_folder(path) as folder:
        (folder / TENSORS).write_bytes(content.getvalue())
        (folder / POSITION).write_text(json.dumps({"current_epoch": epoch, "current_step": step}))
        for name, text in (notes or {}).items():
            (folder / name).write_text(text, encoding="utf-8")


FORMERLY: dict[str, object] = {"network_type": "lora", "use_dora": False, "decompose_both": False, "use_tucker": False}
"""What was in states that say nothing of it."""


def _made_by(member: Member) -> dict[str, object]:
    """What must be the same where a state goes on: with anything else it would load, and train something else."""
    config = member.config
    return {
        "network_type": config.network_type,
        "use_dora": config.use_dora,
        "lokr_factor": config.lokr_factor if config.network_type == "lokr" else None,
        "use_tucker": config.use_tucker,
        "decompose_both": config.network_type == "lokr" and config.decompose_both,
        "net_dim": config.net_dim,
        "alpha": effective_alpha(config),
        "conv_alpha": effective_conv_alpha(config) if config.conv_dim else None,
        "block_alphas": config.block_alphas,
        "conv_block_alphas": config.conv_block_alphas,
        "optimizer_type": optimizer_name(config),
        "scheduler": config.scheduler,
        "ema_decay": config.ema_decay,
    }


@torch.no_grad()
def load_state(path: Path, member: Member) -> int:
    """Put an adapter into the state of a folder; returns the optimizer steps done. No code in the files runs.

    Raises Failure when the folder is no state of lora_lab or belongs to another network or optimizer.
    """
    state, step = _read(path)
    weights: dict[str, Any] = state["weights"]
    own = dict(member.layers)
    if weights.keys() != own.keys():
        raise Failure(f"state {path} adapts other layers than this config", "continue with the parts it was saved with")
    for key, value in _made_by(member).items():
        before = state["made_by"].get(key, FORMERLY.get(key))
        if before != value:
            raise Failure(
                f"state {path} was made with {key} {before}, the config has {value}", f"set {key} to {before}"
            )
    for name, saved in weights.items():
        tensors = dict(own[name].named_parameters())
        if {key: tensor.shape for key, tensor in saved.items()} != {key: p.shape for key, p in tensors.items()}:
            raise Failure(f"state {path} belongs to another base model", "continue with the base it was trained on")
        for key, tensor in tensors.items():
            tensor.copy_(saved[key])
    try:
        member.optimizer.load_state_dict(state["optimizer"])
        member.schedule.load_state_dict(state["schedule"])
        if member.average is not None:
            member.average.load_state_dict(state["average"])
    except (KeyError, ValueError, TypeError) as error:
        raise Failure(
            f"state {path} belongs to another optimizer or scheduler", "continue with the same ones"
        ) from error
    if state["scaler"] and member.scaler.is_enabled():
        member.scaler.load_state_dict(state["scaler"])
    member.journal.latest.update(state["journal"]["latest"])
    member.journal.epoch_losses[:] = state["journal"]["epoch_losses"]
    return step


def _read(path: Path) -> tuple[dict[str, Any], int]:
    if not (path / TENSORS).is_file():
        raise Failure(f"load_previous_save_state {path} is not a state folder", "give a folder that ends in -state")
    refuse_bomb(path / TENSORS)
    try:
        state = torch.load(path / "training.pt", map_location="cpu", weights_only=True)
        step = int(json.loads((path / POSITION).read_text())["current_step"])
        assert {"made_by", "weights", "optimizer", "schedule", "scaler", "journal"} <= state.keys()
    except Exception as error:  # torch.load raises anything for a file that is not its own
        raise Failure(
            f"state {path} is damaged or not of lora_lab", "start without load_previous_save_state"
        ) from error
    return state, step
