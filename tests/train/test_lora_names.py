"""LoRAs of diffusers and PEFT as starting points and in the base: what they say there they say here."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from lora_lab.config import TrainConfig
from lora_lab.document.model_header import read_model_header
from lora_lab.lint import lint_values
from lora_lab.lint.disk import Disk
from lora_lab.train.lora_file import read_lora
from lora_lab.train.lora_names import in_kohyas_names

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]

UNET = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]


def of_diffusers(base: Path, folder: Path, *, xl: bool, metadata: bool = True, **options: Any) -> tuple[Path, Any]:
    """Write a LoRA as diffusers' training scripts do; return it and the pipeline that it is in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = (StableDiffusionXLPipeline if xl else StableDiffusionPipeline).from_pretrained(base)
    parts = {"unet": pipe.unet, "text_encoder": pipe.text_encoder} | (
        {"text_encoder_2": pipe.text_encoder_2} if xl else {}
    )
    configs = {
        name: LoraConfig(**{"r": 3, "lora_alpha": 6, "init_lora_weights": "gaussian", **options},
                         target_modules=UNET if name == "unet" else TEXT)
        for name in parts
    }  # fmt: skip
    torch.manual_seed(0)
    states: dict[str, Any] = {}
    for name, part in parts.items():
        part.add_adapter(configs[name])
        for key, tensor in part.named_parameters():
            if "lora_" in key:
                with torch.no_grad():
                    tensor.add_(torch.randn_like(tensor) * 0.1)
        states[f"{name}_lora_layers"] = get_peft_model_state_dict(part)
        if metadata:
            states[f"{name}_lora_adapter_metadata"] = configs[name].to_dict()
    pipe.save_lora_weights(folder, **states)
    return folder / "pytorch_lora_weights.safetensors", pipe


def question(widths: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, timesteps, text states."""
    draws = torch.Generator().manual_seed(0)
    return (
        torch.randn(2, 4, 8, 8, generator=draws),
        torch.tensor([10, 800]),
        torch.randn(2, 77, widths, generator=draws),
    )


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True}], ids=str)
@pytest.mark.parametrize("xl", [False, True], ids=["sd1", "sdxl"])
def test_starts_from_what_diffusers_wrote(
    xl: bool,
    options: dict[str, Any],
    open_pack: Open,
    make_config: Make,
    base_folder: Path,
    xl_base: Path,
    tmp_path: Path,
) -> None:
    """With the layers and sizes of the file, the adapter's U-Net and text encoder answer as PEFT's do; merged too."""
    base = xl_base if xl else base_folder
    file, pipe = of_diffusers(base, tmp_path, xl=xl, **options)
    asked = question(40 if xl else 16)
    told = {"added_cond_kwargs": {"text_embeds": torch.ones(2, 12), "time_ids": torch.ones(2, 6)}} if xl else {}
    ids = torch.randint(1, 40000, (2, 77))
    with torch.no_grad():
        wanted = pipe.unet(*asked, **told).sample
        text = pipe.text_encoder(ids).last_hidden_state
    kind = {"use_dora": True} if options.get("use_dora") else {}
    beside = {"lora_model_for_resume": str(file), "dim_from_weights": True, **kind}
    for values, keys in ((beside, (0,)), ({"base_weights": str(file)}, ())):
        opened = open_pack(make_config(base_model=str(base), **values))
        with torch.no_grad(), opened.session.pack.serving(*keys):
            found = opened.session.base.unet(*asked, **told).sample
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
            said = opened.session.base.text_encoders[0](ids).last_hidden_state
            torch.testing.assert_close(said, text, rtol=1e-4, atol=1e-5)
        with torch.no_grad(), opened.session.pack.serving():
            plain = opened.session.base.unet(*asked, **told).sample
        assert not keys or (plain - wanted).abs().max() > 0.02
    names = {key.partition(".")[0] for key in read_lora(file)}
    assert any(name.startswith("lora_te_text_model_encoder_layers_0_self_attn_q_proj") for name in names)


def test_trained_on_and_saved(train: Any, base_folder: Path, tmp_path: Path) -> None:
    """A run from such a file trains its layers alone, and saves them under kohya's names with PEFT's alpha."""
    file, _ = of_diffusers(base_folder, tmp_path, xl=False)
    run = train(max_steps=2, lora_model_for_resume=str(file), dim_from_weights=True, net_dim=32)
    alphas = {float(tensor) for key, tensor in run.tensors.items() if key.endswith("alpha")}
    assert alphas == {6.0}
    assert {len(tensor) for key, tensor in run.tensors.items() if key.endswith("down.weight")} == {3}
    assert {key.partition(".")[0] for key in run.tensors} == {key.partition(".")[0] for key in read_lora(file)}


def test_without_metadata_alpha_is_the_rank(base_folder: Path, tmp_path: Path) -> None:
    """What diffusers assumes of a file that tells no alpha is assumed here."""
    file, _ = of_diffusers(base_folder, tmp_path, xl=False, metadata=False)
    assert not [key for key in read_lora(file) if key.endswith("alpha")]
    header = read_model_header(file)
    assert header is not None
    assert header.lora is not None
    assert (header.lora.network, header.lora.alpha, header.lora.ranks) == ("peft", 3.0, frozenset({3}))


def test_sdxl_in_kohyas_format_with_diffusers_paths(
    open_pack: Open, make_config: Make, xl_base: Path, tmp_path: Path
) -> None:
    """Some SDXL LoRAs name the U-Net's layers by diffusers' paths; each finds its layer, convolutions too."""
    config = make_config(base_model=str(xl_base), conv_dim=2)
    opened = open_pack(config, up=0.2)
    ours = dict(opened.members[0].layers)
    other = {name: alias for alias, name in opened.session.pack.other_names.items()}
    assert {name for name in ours if name.startswith(("lora_unet", "lora_te1"))} == set(other)
    assert "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q" in other.values()
    state = {}
    for name, weights in ours.items():
        for part, tensor in weights.in_file().items():
            state[f"{other.get(name, name)}.{part}"] = tensor.detach().clone().contiguous()
        state[f"{other.get(name, name)}.alpha"] = torch.tensor(weights.alpha)
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(state, path)
    again = open_pack(config.model_copy(update={"lora_model_for_resume": str(path)}))
    for name, weights in again.members[0].layers:
        for part, tensor in weights.in_file().items():
            assert torch.equal(tensor, ours[name].in_file()[part])


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("unet.mid_block.attentions.0.proj_in.lora.down.weight",
         "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"),
        ("unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight",
         "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight",
         "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight"),
        ("text_encoder_2.encoder.layers.3.self_attn.q_proj.lora_linear_layer.up.weight",
         "lora_te2_text_model_encoder_layers_3_self_attn_q_proj.lora_up.weight"),
        ("base_model.model.down_blocks.0.resnets.0.conv1.lora_A.weight",
         "lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"),
        ("base_model.model.unet.mid_block.resnets.0.conv1.lora_B.default.weight",
         "lora_unet_mid_block_resnets_0_conv1.lora_up.weight"),
        ("unet.mid_block.resnets.0.conv1.alpha", "lora_unet_mid_block_resnets_0_conv1.alpha"),
        ("unet.mid_block.resnets.0.conv1.lokr_w1", "lora_unet_mid_block_resnets_0_conv1.lokr_w1"),
        ("lora_unet_a.lora_down.weight", "lora_unet_a.lora_down.weight"),
        ("something.else", "something.else"),
    ],
)  # fmt: skip
def test_names(key: str, wanted: str) -> None:
    """Old and new ways to name a tensor lead to kohya's; what is none of them stays."""
    assert list(in_kohyas_names({key: torch.ones(2, 3)}, {})) == [wanted]


def test_alpha_pattern_and_damaged_metadata() -> None:
    """A layer's own alpha wins over the common one; metadata that is no JSON tells nothing."""
    state = {f"unet.mid_block.attentions.0.{name}.lora_A.weight": torch.ones(4, 3) for name in ("proj_in", "proj_out")}
    told = {"unet.lora_alpha": 2, "unet.alpha_pattern": {"proj_in": 8}, "unet.r": 4}
    found = in_kohyas_names(state, {"lora_adapter_metadata": json.dumps(told)})
    assert {key.split("_")[-1]: float(tensor) for key, tensor in found.items() if key.endswith("alpha")} == {
        "in.alpha": 8.0,
        "out.alpha": 2.0,
    }
    assert len(in_kohyas_names(state, {"lora_adapter_metadata": "{"})) == 2


def test_the_linter_says_what_the_run_says(train: Any, base_folder: Path, picture_folder: Path, tmp_path: Path) -> None:
    """Of files of each kind the header tells rank, kind and magnitudes: exactly the wrong configs are found."""
    trained: dict[str, dict[str, object]] = {
        "lora": {},
        "loha": {"network_type": "loha", "conv_dim": 2},
        "lokr": {"network_type": "lokr", "net_dim": 2, "lokr_factor": 2},
        "whole": {"network_type": "lokr", "net_dim": 100_000},
        "dora": {"use_dora": True},
    }
    files = {name: train(max_steps=1, **values).result.lora for name, values in trained.items()}
    files["peft"], _ = of_diffusers(base_folder, tmp_path, xl=False)
    right: dict[str, dict[str, object]] = {
        "lora": {"net_dim": 4, "alpha": 2.0},
        "loha": {"net_dim": 4, "alpha": 2.0, "network_type": "loha", "conv_dim": 2},
        "lokr": {"net_dim": 2, "alpha": 2.0, "network_type": "lokr", "lokr_factor": 2},
        "whole": {"net_dim": 100_000, "network_type": "lokr"},
        "dora": {"net_dim": 4, "alpha": 2.0, "use_dora": True},
        "peft": {"net_dim": 3, "alpha": 6.0},
    }
    wrong: list[tuple[str, dict[str, object], str]] = [
        ("lora", {"network_type": "loha"}, "LL315"), ("lora", {"use_dora": True}, "LL315"),
        ("lora", {"conv_dim": 2}, "LL315"), ("loha", {"net_dim": 8}, "LL310"), ("loha", {"conv_dim": 8}, "LL310"),
        ("loha", {"conv_dim": None}, "LL315"), ("loha", {"alpha": 4.0}, "LL311"),
        ("loha", {"network_type": "lora"}, "LL315"),
        ("lokr", {"net_dim": 3}, "LL310"), ("whole", {"net_dim": 2}, "LL310"), ("dora", {"use_dora": False}, "LL315"),
        ("peft", {"net_dim": 8}, "LL310"), ("peft", {"alpha": 3.0}, "LL311"), ("lora", {"unet_only": True}, "LL312"),
    ]  # fmt: skip

    def found(name: str, values: dict[str, object]) -> set[str]:
        paths = {"base_model": str(base_folder), "img_folder": str(picture_folder), "output_folder": str(tmp_path)}
        config = {**paths, "lora_model_for_resume": str(files[name]), **values}
        report = lint_values(config, tmp_path, Disk(tmp_path))
        return {one.code for one in report.findings if one.code.startswith("LL31") and one.severity == "error"}

    for name, values in right.items():
        assert not found(name, values), name
    for name, values, code in wrong:
        assert found(name, {**right[name], **values}) == {code}, (name, values)
