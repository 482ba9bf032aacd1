"""Models in one file, made from small diffusers models by the names of the original code, written down here apart.

Sources of the names: CompVis' `ldm/modules/diffusionmodules/openaimodel.py` and `model.py`, OpenCLIP's
`TextTransformer`; the numbers of the blocks are those of four levels with two layers each.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

State = dict[str, Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
TIMES = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
SIZES = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
ENDS = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2", **TIMES, **SIZES}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def blocks(plain: int = 0) -> Iterator[tuple[str, str]]:
    """Where each block of diffusers' U-Net lies in the original; `plain` is the way-up level without attention."""
    for level in range(4):
        for layer in range(2):
            yield f"down_blocks.{level}.resnets.{layer}.", f"input_blocks.{3 * level + layer + 1}.0."
            yield f"down_blocks.{level}.attentions.{layer}.", f"input_blocks.{3 * level + layer + 1}.1."
        for layer in range(3):
            yield f"up_blocks.{level}.resnets.{layer}.", f"output_blocks.{3 * level + layer}.0."
            yield f"up_blocks.{level}.attentions.{layer}.", f"output_blocks.{3 * level + layer}.1."
        yield f"down_blocks.{level}.downsamplers.0.conv.", f"input_blocks.{3 * level + 3}.0.op."
        place = 1 if level == plain else 2  # after the attention, which SD's lowest level has not, and SDXL's highest
        yield f"up_blocks.{level}.upsamplers.0.", f"output_blocks.{3 * level + 2}.{place}."
    yield "mid_block.resnets.0.", "middle_block.0."
    yield "mid_block.attentions.0.", "middle_block.1."
    yield "mid_block.resnets.1.", "middle_block.2."


def renamed(name: str, table: Mapping[str, str]) -> str:
    """A tensor's name with the last part that the table knows replaced."""
    stem, _, kind = name.rpartition(".")
    return f"{table.get(stem, stem)}.{kind}"


def original_unet(state: State, plain: int = 0) -> State:
    """The U-Net's tensors under their original names; `plain` is the way-up level without attention."""
    places = dict(blocks(plain))
    found: State = {}
    for name, tensor in state.items():
        start = next((start for start in places if name.startswith(start)), None)
        if start is None:
            new = renamed(name, ENDS)
        else:
            inner = name.removeprefix(start)
            new = places[start] + (renamed(inner, RESNET) if ".resnets." in name else inner)
        found[f"model.diffusion_model.{new}"] = tensor
    return found


def original_vae(state: State) -> State:
    """The VAE's tensors under their original names; its attention was made of 1 × 1 convolutions."""
    found: State = {}
    for name, tensor in state.items():
        side, _, inner = name.partition(".")
        parts = inner.split(".")
        if side in ("quant_conv", "post_quant_conv"):
            found[name] = tensor
            continue
        if parts[0] in ("down_blocks", "up_blocks"):
            level = int(parts[1]) if parts[0] == "down_blocks" else 3 - int(parts[1])
            way = parts[0].removesuffix("_blocks")
            if parts[2] == "resnets":
                inner = f"{way}.{level}.block.{parts[3]}." + renamed(
                    ".".join(parts[4:]), {"conv_shortcut": "nin_shortcut"}
                )
            else:
                inner = f"{way}.{level}.{way}sample.{'.'.join(parts[4:])}"
        elif inner.startswith("mid_block.resnets."):
            inner = f"mid.block_{int(parts[2]) + 1}.{'.'.join(parts[3:])}"
        elif inner.startswith("mid_block.attentions.0."):
            inner = "mid.attn_1." + renamed(inner.removeprefix("mid_block.attentions.0."), ATTENTION)
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        else:
            inner = renamed(inner, {"conv_norm_out": "norm_out"})
        found[f"{side}.{inner}"] = tensor
    return found


def clip(state: State, prefix: str = "cond_stage_model.") -> State:
    """SD 1's text encoder: as transformers names it."""
    prefix += "transformer.text_model."
    return {prefix + name.removeprefix("text_model."): tensor for name, tensor in state.items()}


def open_clip(state: State) -> State:
    """SD 2's text encoder under OpenCLIP's names, with the last layer and the projection that SD 2 does not use."""
    prefix, found = "cond_stage_model.model.", dict[str, Tensor]()
    for name, tensor in ((name.removeprefix("text_model."), tensor) for name, tensor in state.items()):
        if name.startswith("encoder.layers."):
            number, _, inner = name.removeprefix("encoder.layers.").partition(".")
            if any(f"self_attn.{letter}_proj" in inner for letter in "qkv"):
                continue
            found[f"{prefix}transformer.resblocks.{number}.{renamed(inner, OPEN_CLIP)}"] = tensor
        else:
            ends = {"final_layer_norm": "ln_final", "embeddings.token_embedding": "token_embedding"}
            new = "positional_embedding" if "position_embedding" in name else renamed(name, ends)
            found[prefix + new] = tensor
    plain = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    layers = {name.split(".")[2] for name in plain if name.startswith("encoder.layers.")}
    for number in layers:
        for kind in ("weight", "bias"):
            three = [plain[f"encoder.layers.{number}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            found[f"{prefix}transformer.resblocks.{number}.attn.in_proj_{kind}"] = torch.cat(three)
    for name in [name for name in found if ".resblocks.0." in name]:
        found[name.replace(".resblocks.0.", f".resblocks.{len(layers)}.")] = torch.randn_like(found[name])
    width = found[f"{prefix}ln_final.weight"].shape[0]
    return {**found, f"{prefix}text_projection": torch.randn(width, width), f"{prefix}logit_scale": torch.ones(())}


def open_clip_xl(state: State) -> State:
    """SDXL's second text encoder under OpenCLIP's names: all its layers, and its projection."""
    projection = state["text_projection.weight"].T
    rest = {name: tensor for name, tensor in state.items() if name != "text_projection.weight"}
    before, prefix = "cond_stage_model.model.", "conditioner.embedders.1.model."
    found = {name.replace(before, prefix): tensor for name, tensor in open_clip(rest).items()}
    last = max(int(name.split(".")[6]) for name in found if ".resblocks." in name)
    kept = {name: tensor for name, tensor in found.items() if f".resblocks.{last}." not in name}
    return {**kept, f"{prefix}text_projection": projection}


def original_xl(parts: Mapping[str, State]) -> State:
    """SDXL under the names of Stability AI's generative-models."""
    return {
        **original_unet(parts["unet"], plain=2),
        **clip(parts["text_encoder"], "conditioner.embedders.0."),
        **open_clip_xl(parts["text_encoder_2"]),
        **{f"first_stage_model.{name}": tensor for name, tensor in original_vae(parts["vae"]).items()},
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "denoiser.sigmas": torch.rand(1000),
    }


def state_of(folder: Path) -> State:
    """A part's tensors."""
    (file,) = folder.glob("*.safetensors")
    return safetensors.torch.load_file(file)


def original(folder: Path, v2: bool) -> State:
    """A whole model under its original names, with what published files carry beside it."""
    unet = original_unet(state_of(folder / "unet"))
    text = (open_clip if v2 else clip)(state_of(folder / "text_encoder"))
    vae = {f"first_stage_model.{name}": tensor for name, tensor in original_vae(state_of(folder / "vae")).items()}
    beside = {"alphas_cumprod": torch.rand(1000), "model_ema.decay": torch.tensor(0.9999)}
    beside |= {"model_ema." + name.removeprefix("model.").replace(".", ""): torch.zeros(1) for name in unet}
    if not v2:
        beside["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return {**unet, **text, **vae, **beside}


@pytest.fixture(scope="session")
def originals(whole_bases: Mapping[str, Path]) -> Mapping[str, State]:
    """The small SD 1 and SD 2 models under their original names."""
    return {name: original(folder, name == "sd2") for name, folder in whole_bases.items()}


@pytest.fixture(scope="session")
def original_sdxl(whole_xl: Path) -> State:
    """The small SDXL model under its original names."""
    return original_xl({part: state_of(whole_xl / part) for part in ("unet", "text_encoder", "text_encoder_2", "vae")})


@pytest.fixture
def vae_state() -> Callable[[Path], State]:
    """Return the function that gives a VAE folder's tensors their original names."""
    return lambda folder: original_vae(state_of(folder))


@pytest.fixture(scope="session")
def published() -> Mapping[str, State]:
    """The tensors of SD 1.5, SD 2.1 and SDXL in their true sizes under their original names, without memory."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from lora_lab.train.base_files.single_file import LAYOUTS

    def parts(name: str) -> Mapping[str, State]:
        layout = LAYOUTS / name
        with torch.device("meta"):
            found = {
                "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(layout / "unet")),
                "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(layout / "vae")),
                "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(layout / "text_encoder")),
            }
            if name == "sdxl":
                config = CLIPTextConfig.from_pretrained(layout / "text_encoder_2")
                found["text_encoder_2"] = CLIPTextModelWithProjection(config)
            return {part: model.state_dict() for part, model in found.items()}

    made = {"sdxl": original_xl(parts("sdxl"))}
    for name in ("sd1", "sd2"):
        with torch.device("meta"):
            of = parts(name)
            state = {**original_unet(of["unet"]), **(open_clip if name == "sd2" else clip)(of["text_encoder"])}
            state |= {f"first_stage_model.{name}": tensor for name, tensor in original_vae(of["vae"]).items()}
        made[name] = state
    return made
