"""LoRA files merged into the base: what is trained then, which caches and packs know of it, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import UNet2DConditionModel
from lycoris.modules import get_module, make_module
from safetensors import safe_open

from lora_lab.config import TrainConfig
from lora_lab.config.packs import may_share_a_pack
from lora_lab.failure import Failure
from lora_lab.sweep.identity import Digests, identity
from lora_lab.train import lora_file
from lora_lab.train.merging import change_of

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]
Train = Callable[..., Any]

KINDS: dict[str, dict[str, object]] = {
    "lora": {"conv_dim": 3},
    "dora": {"use_dora": True},
    "loha": {"network_type": "loha", "conv_dim": 2},
    "lokr": {"network_type": "lokr", "net_dim": 2, "decompose_both": True, "conv_dim": 1},
    "lokr of custom": {"network_type": "lokr", "net_dim": 100_000, "alpha": 1.0, "lokr_factor": 4},
}


@pytest.fixture
def saved(open_pack: Open, make_config: Make, tmp_path: Path) -> Callable[..., Path]:
    """Return a function: writes an adapter none of whose tensors is as it began, returns the file."""

    def save(**values: object) -> Path:
        opened = open_pack(make_config(**values))
        torch.manual_seed(1)
        for _, weights in opened.members[0].layers:
            for tensor in weights.trained():
                with torch.no_grad():
                    tensor.add_(torch.randn_like(tensor) * 0.1)
        path = tmp_path / f"{len(list(tmp_path.glob('*.safetensors')))}.safetensors"
        lora_file.save_lora(path, lora_file.state_dict(opened.members[0].layers, torch.float32), {})
        opened.session.pack.detach()
        return path

    return save


def question() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, timesteps, token ids."""
    draws = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 40000, (2, 1, 77), generator=draws)
    return torch.randn(2, 4, 8, 8, generator=draws), torch.tensor([10, 800]), ids


def predicted(opened: Any, *keys: int) -> torch.Tensor:
    """What the base says, with adapters served or bare."""
    latents, t, ids = question()
    session = opened.session
    with torch.no_grad(), session.pack.serving(*keys):
        said: torch.Tensor = session.family.predict(
            session.base, latents, t, session.family.encode(session.base, ids, 1)
        )
    return said


@pytest.mark.parametrize("name", KINDS)
def test_a_merged_base_says_what_base_and_adapter_say(
    name: str, saved: Any, open_pack: Open, make_config: Make
) -> None:
    """Bare, the merged base predicts what the bare base does with the adapter beside it."""
    file = saved(**KINDS[name])
    beside = open_pack(make_config(lora_model_for_resume=str(file), **KINDS[name]))
    wanted, plain = predicted(beside, 0), predicted(beside)
    merged = open_pack(make_config(base_weights=str(file)))
    torch.testing.assert_close(predicted(merged), wanted, rtol=1e-4, atol=1e-5)
    assert (wanted - plain).abs().max() > 0.05
    torch.testing.assert_close(predicted(open_pack(make_config())), plain)  # the next run's base is its own again


def test_multipliers(saved: Any, open_pack: Open, make_config: Make, base_folder: Path) -> None:
    """Each file counts by its number, one after the other: W + 0.5 · ΔW − 2 · ΔW', by LyCORIS' own modules."""
    files = [saved(**KINDS["lokr"]), saved(unet_only=True, **KINDS["lora"])]
    merged = open_pack(make_config(base_weights=[str(one) for one in files], base_weights_multiplier=[0.5, -2.0]))
    bare = UNet2DConditionModel.from_pretrained(base_folder / "unet")
    wanted = {name: value.clone() for name, value in bare.state_dict().items()}
    paths = {f"lora_unet_{path}".replace(".", "_"): path for path, _ in bare.named_modules()}
    for file, multiplier in zip(files, (0.5, -2.0), strict=True):
        state = safetensors.torch.load_file(file)
        for layer in {key.partition(".")[0] for key in state if key.startswith("lora_unet")}:
            module = make_module(*get_module(state, layer), layer, bare.get_submodule(paths[layer]))
            with torch.no_grad():  # with alpha / rank of 1 in the LoKr, which LyCORIS 4.1 counts twice when it merges
                wanted[f"{paths[layer]}.weight"] += multiplier * module.get_diff_weight()[0].view_as(
                    wanted[f"{paths[layer]}.weight"]
                )
    found = {name.replace(".base.", "."): value for name, value in merged.session.base.unet.state_dict().items()}
    changed = 0
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
        changed += not torch.equal(value, bare.state_dict()[name])
    assert changed > 30


def test_dora_as_strong_as_said() -> None:
    """The whole change is scaled, W + m · (W' − W); magnitudes of columns, which older files have, are read too."""
    torch.manual_seed(0)
    weight, down, up = torch.randn(5, 7), torch.randn(2, 7), torch.randn(5, 2)
    tensors = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(1.0)}
    turned = weight + up @ down / 2
    rows, columns = torch.rand(5, 1) + 1, torch.rand(1, 7) + 1
    found = change_of(weight, {**tensors, "dora_scale": rows})
    torch.testing.assert_close(found, turned / turned.norm(dim=1, keepdim=True) * rows - weight)
    found = change_of(weight, {**tensors, "dora_scale": columns})
    torch.testing.assert_close(found, turned / turned.norm(dim=0, keepdim=True) * columns - weight)
    with pytest.raises(ValueError, match="another width"):
        change_of(weight, {**tensors, "dora_scale": torch.ones(4, 1)})


def test_training_on_top(saved: Any, train: Train, tmp_path: Path) -> None:
    """The first loss is that of the LoRA which it goes on from, the file holds only what is learned on top."""
    file = saved()
    before = train(max_steps=1, lora_model_for_resume=str(file), learning_rate=1e-12)
    run = train(max_steps=2, base_weights=[str(file)])
    assert run.curve("loss")[1] == pytest.approx(before.curve("loss")[1], rel=1e-4)
    assert run.curve("loss")[1] != pytest.approx(train(max_steps=1).curve("loss")[1], rel=1e-3)
    ups = [tensor for key, tensor in run.tensors.items() if key.endswith("up.weight")]
    assert max(float(up.abs().max()) for up in ups) < 0.01  # two steps from zero
    with safe_open(run.result.lora, "pt") as opened:
        about = opened.metadata()
    assert json.loads(about["lora_lab.base_weights"]) == {file.name: 1.0}
    plain = lora_file.read_lora(file)
    assert plain.keys() == run.tensors.keys()


def test_text_caches_know_of_it(saved: Any, open_pack: Open, make_config: Make) -> None:
    """A merged text encoder is another one to every cache; a merged U-Net alone is none."""
    whole, unet = saved(), saved(unet_only=True)
    bases = [open_pack(make_config(**values)).session.base for values in (
        {}, {"base_weights": str(unet)}, {"base_weights": str(whole)},
        {"base_weights": str(whole), "base_weights_multiplier": 0.5},
    )]  # fmt: skip
    assert len({base.content for base in bases}) == 4
    assert len({base.text_content for base in bases}) == 3
    assert bases[1].text_content == bases[0].text_content == bases[0].content == bases[0].hash
    assert len({base.hash for base in bases}) == 1


def test_identity_goes_by_content(saved: Any, make_config: Make, tmp_path: Path) -> None:
    """The same file under another name is the same run; other bytes, another order or strength are other runs."""
    one, two = saved(), saved(net_dim=2)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(one.read_bytes())

    def of(**values: object) -> str:
        config = make_config(**values)
        return identity(config, Digests(tmp_path).of(config))

    assert of(base_weights=str(one)) == of(base_weights=[str(copy)])
    several: list[dict[str, object]] = [
        {"base_weights": [str(path) for path in paths]} for paths in ((one,), (two,), (one, two), (two, one))
    ]
    several += [{"base_weights": str(one), "base_weights_multiplier": 0.5}, {}]
    assert len({of(**values) for values in several}) == len(several)


def test_packs(saved: Any, make_config: Make, train_pack_of: Any) -> None:
    """Runs on other merged bases do not share a pack; runs on the same one do."""
    file = str(saved())
    plain, merged = make_config(max_steps=1), make_config(max_steps=1, base_weights=file)
    weaker = make_config(max_steps=1, base_weights=file, base_weights_multiplier=0.5)
    assert not may_share_a_pack(plain, merged)
    assert not may_share_a_pack(weaker, merged)
    assert may_share_a_pack(merged, merged.model_copy(update={"test_seed": 5}))
    with pytest.raises(Failure, match="different base_weights cannot be trained as one pack"):
        train_pack_of([plain, merged])


def test_an_interrupted_run_sees_another_file(saved: Any, train: Train) -> None:
    """What decides a run names the merged files' content, so that a state is not gone on with on another base."""
    from lora_lab.tracking.events import DECIDES, RunStarted

    def told(**values: object) -> str:
        (event,) = train(max_steps=1, **values).told(RunStarted)
        assert isinstance(event, RunStarted)
        return event.tags[DECIDES]

    file, other = saved(), saved(net_dim=2)
    assert len({told(), told(base_weights=str(file)), told(base_weights=str(other))}) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_weights": "/nowhere/a.safetensors"}, "base_weights /nowhere/a.safetensors does not exist"),
        ({"base_weights": ["{file}"], "base_weights_multiplier": [1.0, 2.0]}, "1 files, base_weights_multiplier 2"),
        ({"base_weights": "{strange}"}, "has a layer lora_unet_other, which .* lacks"),
        ({"base_weights": "{wide}"}, "does not fit .* at lora_unet_mid_block_attentions_0_proj_in"),
        ({"base_weights": "{odd}"}, "does not fit .* at lora_unet_mid_block_attentions_0_proj_in"),
        ({"base_weights": "{text}"}, "is not a LoRA file that can be read"),
    ],
    ids=str,
)
def test_refused(values: dict[str, Any], message: str, saved: Any, train: Train, tmp_path: Path) -> None:
    """A missing file, one of another family or no LoRA, and a wrong count of multipliers end the run in one line."""
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    pair = {"lora_down.weight": torch.ones(2, 7), "lora_up.weight": torch.ones(9, 2)}
    files = {
        "strange": {f"lora_unet_other.{key}": value for key, value in pair.items()},
        "wide": {f"{layer}.{key}": value for key, value in pair.items()},
        "odd": {f"{layer}.{key}": value for key, value in {**pair, "w_norm": torch.ones(3)}.items()},
    }
    paths = {"file": saved(), "text": tmp_path / "text.safetensors"}
    paths["text"].write_text("no tensors")
    for name, state in files.items():
        paths[name] = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file(state, paths[name])
    text = json.dumps(values)
    for name, path in paths.items():
        text = text.replace("{" + name + "}", str(path))
    filled = json.loads(text)
    with pytest.raises(Failure, match=message):
        train(**filled)


def test_sdxl(saved: Any, open_pack: Open, make_config: Make, xl_base: Path) -> None:
    """SDXL's both text encoders and its U-Net are merged."""
    file = saved(base_model=str(xl_base), conv_dim=2)
    base = open_pack(make_config(base_model=str(xl_base), base_weights=str(file))).session.base
    assert base.text_merged
    assert {key.split("_")[1] for key in lora_file.read_lora(file)} == {"te1", "te2", "unet"}
