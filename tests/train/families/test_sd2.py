"""Stable Diffusion 2.x: what is adapted, how captions are padded, which layer the U-Net hears, what it predicts."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from lora_lab.train.base_files.parts import Asked
from lora_lab.train.base_files.single_file import LAYOUTS, load_tokenizer
from lora_lab.train.families.base import Base
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.families.sd2 import SD2
from lora_lab.train.pack import AdapterOptions, Pack

FACTS = Path(__file__).parents[1] / "facts"


def real_size(name: str) -> Base:
    """A family's U-Net and text encoder as the configs in the package make them, without memory."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(LAYOUTS / name / "unet"))
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(LAYOUTS / name / "text_encoder"))
    nothing = torch.zeros(1000)
    return Base(
        name=name,
        path=Path(name),
        unet=unet,
        text_encoders=(text_encoder,),
        vae=torch.nn.Module(),
        tokenizers=(None,),
        alphas_cumprod=nothing,
        own_alphas_cumprod=nothing,
        scaling_factor=0.18215,
        text_layers=text_encoder.config.num_hidden_layers,
        prediction_type="epsilon",
        hash="",
        vae_hash="",
    )


@pytest.mark.parametrize(
    ("family", "facts", "text", "per_rank"),
    [(SD1(), "sd15_layers.json", 72, 589_824), (SD2(), "sd2_layers.json", 138, 856_064)],
    ids=["sd1", "sd2"],
)
def test_layers_of_the_packaged_configs_are_those_of_kohya(
    family: SD1 | SD2, facts: str, text: int, per_rank: int
) -> None:
    """Names, widths and kernels are those that sd-scripts prints, text encoder first, and so many weights per rank."""
    base = real_size(family.name)
    found = {}
    for name, (owner, attribute) in family.layers(base).items():
        layer = getattr(owner, attribute)
        kernel = list(layer.kernel_size) if isinstance(layer, torch.nn.Conv2d) else None
        found[name] = [layer.weight.shape[1], layer.weight.shape[0], kernel]
    assert found == json.loads((FACTS / facts).read_text())
    assert [name.startswith("lora_te_") for name in found] == [True] * text + [False] * 192
    pack = Pack(family.layers(base))
    try:
        pack.add(0, AdapterOptions(rank=1, alpha=1.0, dropout=0.0, unet=True, text_encoder=True, seed=0))
        assert sum(p.numel() for _, weights in pack.weights(0) for p in weights.parameters()) == per_rank
    finally:
        pack.detach()


def test_size_of_the_models() -> None:
    """The packaged configs make U-Nets of 859.5 and 865.9 million weights, the published sizes."""
    sizes = [sum(p.numel() for p in real_size(name).unet.parameters()) for name in ("sd1", "sd2")]
    assert sizes == [859_520_964, 865_910_724]


def test_heads_of_the_packaged_configs() -> None:
    """SD 1 has 8 heads everywhere, SD 2 heads of 64 channels; the text encoders have heads of 64 too."""
    heads = {
        name: {
            module.heads: module.to_q.out_features // module.heads
            for module in real_size(name).unet.modules()
            if type(module).__name__ == "Attention"
        }
        for name in ("sd1", "sd2")
    }
    assert heads == {"sd1": {8: 160}, "sd2": {5: 64, 10: 64, 20: 64}}
    for name, layers, heads_of_text, kind in (("sd1", 12, 12, "quick_gelu"), ("sd2", 23, 16, "gelu")):
        config = json.loads((LAYOUTS / name / "text_encoder" / "config.json").read_text())
        assert (config["num_hidden_layers"], config["num_attention_heads"]) == (layers, heads_of_text)
        assert (config["hidden_size"] // heads_of_text, config["hidden_act"]) == (64, kind)


@pytest.mark.parametrize(("name", "pad"), [("sd1", 49407), ("sd2", 0)])
def test_padding(name: str, pad: int, whole_bases: Mapping[str, Path]) -> None:
    """A caption of two words is begin, two tokens, end and padding: the end token in SD 1, `!` (0) in SD 2."""
    family = SD2() if name == "sd2" else SD1()
    for tokenizer in (load_tokenizer(family.pad_token), family.load(Asked(whole_bases[name])).tokenizers[0]):
        base: Any = type("Base", (), {"tokenizers": (tokenizer,)})
        ids = family.tokenize(base, "red circle", 75)[0].tolist()
        assert ids == [49406, 736, 7117, 49407, *[pad] * 73]


def test_chunks_of_sd2(whole_bases: Mapping[str, Path]) -> None:
    """Of three chunks, a full one is closed with the end token, one without text is begin, end, padding."""
    base = SD2().load(Asked(whole_bases["sd2"]))
    ids = SD2().tokenize(base, "red " * 80, 225).tolist()
    assert ids[0] == [49406, *[736] * 75, 49407]
    assert ids[1] == [49406, *[736] * 5, 49407, *[0] * 70]
    assert ids[2] == [49406, 49407, *[0] * 75]


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip_counts_from_the_cut_encoder(whole_bases: Mapping[str, Path], clip_skip: int) -> None:
    """With clip_skip 1 the U-Net hears the last layer that SD 2 kept, OpenCLIP's last but one, after the final norm."""
    base = SD2().load(Asked(whole_bases["sd2"]))
    ids = SD2().tokenize(base, "red circle", 75)
    encoder: Any = base.text_encoders[0]
    inner = getattr(encoder, "text_model", encoder)
    with torch.no_grad():
        hidden = encoder(ids, output_hidden_states=True).hidden_states
        assert len(hidden) == 4
        states = SD2().encode(base, ids[None], clip_skip).states
    torch.testing.assert_close(states, inner.final_layer_norm(hidden[-clip_skip]))


def test_what_files_say_of_their_family() -> None:
    """`ss_base_model_version` and `modelspec.architecture` tell the families, and v-prediction, as sd-scripts does."""
    told = {
        (family.name, v): (family.base_model_version(v), family.architecture(v))
        for family in (SD1(), SD2())
        for v in (False, True)
    }
    assert told == {
        ("sd1", False): ("sd_v1", "stable-diffusion-v1/lora"),
        ("sd1", True): ("sd_v1_v", "stable-diffusion-v1/lora"),
        ("sd2", False): ("sd_v2", "stable-diffusion-v2-512/lora"),
        ("sd2", True): ("sd_v2_v", "stable-diffusion-v2-768-v/lora"),
    }


def test_training_on_sd2(whole_bases: Mapping[str, Path], train: Callable[..., Any]) -> None:
    """`v2` trains an SD 2 base at v-prediction: every layer of U-Net and text encoder learns, and the file says so."""
    from safetensors import safe_open

    run = train(base_model=str(whole_bases["sd2"]), v2=True, v_parameterization=True, train_resolution=128, max_steps=2)
    ups = {name: tensor for name, tensor in run.tensors.items() if name.endswith("lora_up.weight")}
    assert len(ups) == 3 * 6 + 192
    assert all(tensor.abs().max() > 0 for tensor in ups.values())
    assert {tensor.ndim for tensor in run.tensors.values()} == {0, 2}
    with safe_open(run.result.lora, "pt") as file:
        about = file.metadata()
    assert (about["ss_v2"], about["ss_base_model_version"]) == ("True", "sd_v2_v")
    assert about["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
    assert about["modelspec.prediction_type"] == "v"
