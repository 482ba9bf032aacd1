"""SDXL: what is adapted and under which names, what the U-Net hears of a caption and of sizes, training and files."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.train import prepare
from lora_lab.train.base_files.folder import is_whole
from lora_lab.train.base_files.parts import Asked
from lora_lab.train.base_files.single_file import LAYOUTS
from lora_lab.train.families.base import Base, Encoded
from lora_lab.train.families.sdxl import SDXL
from lora_lab.train.opening import open_base
from lora_lab.train.pack import AdapterOptions, LayerSize, Pack

FACTS = Path(__file__).parents[1] / "facts"
WORDS = "lumi, a red circle on a blue background"

Make = Callable[..., TrainConfig]
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def base(xl_base: Path) -> Base:
    """The small SDXL, loaded."""
    return SDXL().load(Asked(xl_base))


@pytest.fixture(scope="module")
def pipe(xl_base: Path) -> Any:
    """The small SDXL in diffusers' own pipeline."""
    return StableDiffusionXLPipeline.from_pretrained(xl_base)


@pytest.fixture(scope="module")
def real_size() -> Base:
    """SDXL's U-Net and text encoders as the configs in the package make them, without memory."""
    layout = LAYOUTS / "sdxl"
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(layout / "unet"))
        first = CLIPTextModel(CLIPTextConfig.from_pretrained(layout / "text_encoder"))
        second = CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(layout / "text_encoder_2"))
    nothing = torch.zeros(1000)
    return Base(
        name="sdxl",
        path=Path("sdxl"),
        unet=unet,
        text_encoders=(first, second),
        vae=torch.nn.Module(),
        tokenizers=(None, None),
        alphas_cumprod=nothing,
        own_alphas_cumprod=nothing,
        scaling_factor=0.13025,
        text_layers=32,
        prediction_type="epsilon",
        hash="",
        vae_hash="",
    )


def sizes_of(layers: Mapping[str, tuple[torch.nn.Module, str]]) -> dict[str, list[Any]]:
    """Inputs, outputs and kernel of layers by their names."""
    found = {}
    for name, (owner, attribute) in layers.items():
        layer: Any = getattr(owner, attribute)
        kernel = list(layer.kernel_size) if isinstance(layer, torch.nn.Conv2d) else None
        found[name] = [layer.weight.shape[1], layer.weight.shape[0], kernel]
    return found


def test_layers_are_those_of_kohya(real_size: Base) -> None:
    """Names, widths and kernels of 986 layers, and of 66 convolutions beside, are those that sd-scripts prints."""
    layers, convolutions = SDXL().layers(real_size), SDXL().convolutions(real_size)
    assert sizes_of(layers) == json.loads((FACTS / "sdxl_layers.json").read_text())
    assert sizes_of(convolutions) == json.loads((FACTS / "sdxl_convolutions.json").read_text())
    assert (len(layers), len(convolutions)) == (986, 66)
    kinds = [name.split("_")[1] for name in layers]
    assert kinds == ["te1"] * 72 + ["te2"] * 192 + ["unet"] * 722


@pytest.mark.parametrize(
    ("unet", "text", "conv", "count"),
    [(True, True, False, 986), (False, True, False, 264), (True, False, False, 722), (True, False, True, 722 + 66)],
)
def test_what_an_adapter_takes(real_size: Base, unet: bool, text: bool, conv: bool, count: int) -> None:
    """Text encoders, U-Net or both, and convolutions only with conv_dim, which alone sizes the 3 × 3 ones."""
    pack = Pack({**SDXL().layers(real_size), **SDXL().convolutions(real_size)})
    try:
        size = LayerSize(2, 1.0) if conv else None
        pack.add(0, AdapterOptions(rank=1, alpha=1.0, dropout=0.0, unet=unet, text_encoder=text, seed=0, conv=size))
        taken = list(pack.weights(0))
        weights = sum(p.numel() for _, one in taken for p in one.parameters())
        wide = {one.rank for _, one in taken if one.down.ndim == 4 and one.down.shape[-1] == 3}
    finally:
        pack.detach()
    assert len(taken) == count
    assert wide == ({2} if conv else set())
    if not conv:
        assert weights == {986: 3_563_008, 264: 903_168, 722: 2_659_840}[count]


def test_heads_of_the_packaged_configs(real_size: Base) -> None:
    """Heads of 64 channels everywhere; 0, 2 and 10 transformer blocks per attention of the three levels."""
    attentions = [m for m in real_size.unet.modules() if type(m).__name__ == "Attention"]
    assert {module.to_q.out_features // module.heads for module in attentions} == {64}  # type: ignore[operator, union-attr]
    depths = {
        len(module.transformer_blocks): module.config.in_channels  # type: ignore[arg-type, union-attr]
        for module in real_size.unet.modules()
        if type(module).__name__ == "Transformer2DModel"
    }
    assert depths == {2: 640, 10: 1280}


def test_captions_are_heard_as_diffusers_hears_them(base: Base, pipe: Any) -> None:
    """Text states and pooled caption are those of StableDiffusionXLPipeline.encode_prompt, whatever clip_skip says."""
    ids = torch.stack([SDXL().tokenize(base, text, 75) for text in (WORDS, "")])
    assert ids.shape == (2, 2, 1, 77)
    with torch.no_grad():
        wanted, _, pooled, _ = pipe.encode_prompt([WORDS, ""], do_classifier_free_guidance=False)
        for clip_skip in (1, 2, 12):
            text = SDXL().encode(base, ids, clip_skip)
            torch.testing.assert_close(text.states, wanted)
            torch.testing.assert_close(text.pooled, pooled)
    assert text.states.shape == (2, 77, 40)
    assert (text.states[0] - text.states[1]).abs().max() > 0.1


def test_padding(base: Base) -> None:
    """The first tokenizer pads with the end token, the second with `!`, which is token 0."""
    first, second = SDXL().tokenize(base, "red circle", 75)[:, 0].tolist()
    assert first == [49406, 736, 7117, 49407, *[49407] * 73]
    assert second == [49406, 736, 7117, 49407, *[0] * 73]


@pytest.mark.parametrize(("limit", "tokens"), [(75, 77), (150, 152), (225, 227)])
def test_long_captions_are_chunks(base: Base, limit: int, tokens: int) -> None:
    """Each chunk is encoded by itself between begin and end; the pooled caption is the first chunk's."""
    words = "circle square " * 120
    encoders: Any = base.text_encoders
    inner = base.tokenizers[0](words, add_special_tokens=False).input_ids[:limit]
    rows = [torch.tensor([[49406, *inner[start : start + 75], 49407]]) for start in range(0, limit, 75)]
    with torch.no_grad():
        answers = [[encoder(row, output_hidden_states=True) for encoder in encoders] for row in rows]
        text = SDXL().encode(base, SDXL().tokenize(base, words, limit)[None], 1)
    parts = [torch.cat([one.hidden_states[-2][0] for one in pair], dim=-1) for pair in answers]
    wanted = torch.cat([parts[0][:1], *(part[1:-1] for part in parts), parts[-1][-1:]])
    assert text.states.shape == (1, tokens, 40)
    torch.testing.assert_close(text.states[0], wanted)
    torch.testing.assert_close(text.pooled, answers[0][1].text_embeds)


def test_predicts_as_diffusers_does(base: Base, pipe: Any) -> None:
    """With the sizes in the order of diffusers' pipeline the U-Net says the same; each of the six numbers matters."""
    torch.manual_seed(0)
    noisy, t = torch.randn(1, 4, 8, 12), torch.tensor([500])
    text = SDXL().encode(base, SDXL().tokenize(base, WORDS, 75)[None], 1)
    sizes = torch.tensor([[300.0, 400.0, 5.0, 7.0, 64.0, 96.0]])
    theirs = pipe._get_add_time_ids((300, 400), (5, 7), (64, 96), torch.float32, 12)
    assert torch.equal(theirs, sizes)
    with torch.no_grad():
        told = {"text_embeds": text.pooled, "time_ids": theirs}
        wanted = pipe.unet(noisy, t, text.states, added_cond_kwargs=told).sample
        said = SDXL().predict(base, noisy, t, text, sizes)
        torch.testing.assert_close(said, wanted)
        for place in range(6):
            other = sizes.clone()
            other[0, place] += 200
            assert (SDXL().predict(base, noisy, t, text, other) - said).abs().max() > 1e-4


def test_answers_join_and_part() -> None:
    """Parts of an answer, joined again, are the answer; the pooled caption stays with its states."""
    text = Encoded(torch.randn(4, 77, 3), torch.randn(4, 2))
    joined = Encoded.join([text.part([0]), text.part([1, 2, 3])])
    assert torch.equal(joined.states, text.states)
    assert joined.pooled is not None
    assert torch.equal(joined.pooled, text.pooled)  # type: ignore[arg-type]
    assert Encoded.join([Encoded(text.states).part([1])]).pooled is None


@pytest.mark.parametrize("cached", [True, False])
def test_sizes_of_a_batch(make_config: Make, open_pack: Open, xl_base: Path, tmp_path: Path, cached: bool) -> None:
    """A batch tells file size, crop and bucket of each picture, cached or not; a mirrored crop is mirrored."""
    from PIL import Image

    folder = tmp_path / "pictures" / "4_wide"
    folder.mkdir(parents=True)
    Image.new("RGB", (150, 100)).save(folder / "a.png")
    (folder / "a.txt").write_text("lumi")
    config = make_config(
        base_model=str(xl_base), img_folder=str(folder.parent), flip_aug=True, cache_latents=cached, batch_size=4
    )
    batch = open_pack(config).data.training[0]
    width, height = batch.bucket
    assert (batch.latents is not None) == cached
    left = int(150 * height / 100 + 0.5) - width  # the picture is as high as the bucket, and wider
    assert left > 1
    halves = {left // 2, left - left // 2}
    rows = batch.sizes.tolist()
    assert batch.sizes.dtype == torch.float32
    assert all(row[:3] == [100, 150, 0] and row[4:] == [height, width] for row in rows)
    assert {row[3] for row in rows} <= halves


def test_the_family_is_seen(make_config: Make, xl_base: Path) -> None:
    """SDXL needs no key: its base says it. `v2` with it is one line that says what to set."""
    accelerator = prepare.make_accelerator("no")
    family, _ = open_base([make_config(base_model=str(xl_base))], accelerator)
    assert family.name == "sdxl"
    with pytest.raises(Failure, match="is an SDXL model, the config trains an SD 2") as caught:
        open_base([make_config(base_model=str(xl_base), v2=True)], accelerator)
    assert caught.value.remedy == 'set "v2": false'
    assert "\n" not in str(caught.value)


def test_clip_skip_is_never_too_deep(make_config: Make, xl_base: Path) -> None:
    """`clip_skip` has no effect, so no number of it is refused."""
    open_base([make_config(base_model=str(xl_base), clip_skip=4)], prepare.make_accelerator("no"))


def test_training(xl_base: Path, train: Callable[..., Any]) -> None:
    """Every layer learns but the last of the first text encoder, which nothing hears; the file says what it is for."""
    run = train(base_model=str(xl_base), max_steps=2, flip_aug=True, validation_split=0.25)
    ups = {name: tensor for name, tensor in run.tensors.items() if name.endswith("lora_up.weight")}
    idle = {name for name, tensor in ups.items() if tensor.abs().max() == 0}
    assert len(ups) == 3 * 6 + 4 * 6 + 11 * 12
    assert {name.rpartition("_layers_")[0] + name.rpartition("_layers_")[2][:1] for name in idle} == {
        "lora_te1_text_model_encoder2"
    }
    with safe_open(run.result.lora, "pt") as file:
        about = file.metadata()
    assert (about["ss_v2"], about["ss_base_model_version"]) == ("False", "sdxl_base_v1-0")
    assert about["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert about["modelspec.implementation"] == "https://github.com/Stability-AI/generative-models"
    assert about["modelspec.prediction_type"] == "epsilon"
    assert run.curve("val_loss").keys() == {0, 2}


def edit(name: str, **values: object) -> Callable[[Path], object]:
    """A way to break a base: a JSON file says something else."""
    return lambda folder: (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **values}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no second tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer_2"), "it has no tokenizer_2"),
    "no second text encoder": (lambda folder: shutil.rmtree(folder / "text_encoder_2"), "it has no text_encoder_2"),
    "cut text encoder": (
        lambda folder: (folder / "text_encoder_2" / "model.safetensors").write_bytes(b"x"),
        "text_encoder_2 cannot be loaded",
    ),
    "another second tokenizer": (
        edit("tokenizer_2/tokenizer_config.json", model_max_length=64),
        "tokenizer_2 does not fit its text encoder",
    ),
    "a U-Net of an SD 1": (
        edit("unet/config.json", addition_embed_type=None, cross_attention_dim=768),
        "by its text encoders, and by its U-Net it is none",
    ),
}


@pytest.mark.parametrize(("break_", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_folder(
    make_config: Make, xl_base: Path, tmp_path: Path, break_: Callable[[Path], object], message: str
) -> None:
    """Whatever is wrong with an SDXL folder, one line says it with the folder's path; half of one is not whole."""
    folder = shutil.copytree(xl_base, tmp_path / "broken")
    assert is_whole(folder)
    break_(folder)
    with pytest.raises(Failure, match=message) as caught:
        open_base([make_config(base_model=str(folder))], prepare.make_accelerator("no"))
    assert str(folder) in caught.value.what
    assert "\n" not in str(caught.value)
    assert is_whole(folder) == ("it has no" not in message)


def test_another_conditioning_is_refused(xl_base: Path, tmp_path: Path) -> None:
    """A U-Net that wants to be told more or less than sizes, as the refiner's, is refused while it is loaded."""
    folder = shutil.copytree(xl_base, tmp_path / "refiner")
    about = json.loads((folder / "unet" / "config.json").read_text())
    unet = UNet2DConditionModel.from_config({**about, "projection_class_embeddings_input_dim": 12 + 5 * 8})
    unet.save_pretrained(folder / "unet")
    with pytest.raises(Failure, match="does not listen to its second text encoder"):
        SDXL().load(Asked(folder))


def test_a_step_at_full_width(real_size: Base) -> None:
    """In true sizes, without memory: captions of two chunks, sizes and a picture of 1024 × 768 go through, and back."""
    for model in (real_size.unet, *real_size.text_encoders):
        model.requires_grad_(False)
    pack = Pack({**SDXL().layers(real_size), **SDXL().convolutions(real_size)})
    try:
        pack.add(0, AdapterOptions(rank=4, alpha=2.0, dropout=0.0, unet=True, text_encoder=True, seed=0))
        tokenizer = type("Tokenizer", (), {"eos_token_id": 49407})()
        base = replace(real_size, tokenizers=(tokenizer, tokenizer))
        with torch.device("meta"), pack.serving(0, training=True):
            text = SDXL().encode(base, torch.zeros(1, 2, 2, 77, dtype=torch.int64), 1)
            noisy, t = torch.zeros(1, 4, 96, 128), torch.zeros(1)
            said = SDXL().predict(base, noisy, t, text, torch.zeros(1, 6))
            said.square().mean().backward()  # type: ignore[no-untyped-call]  # torch's
        learning = [name for name, one in pack.weights(0) if one.up.grad is not None]
    finally:
        pack.detach()
    assert text.states.shape == (1, 152, 2048)
    assert text.pooled is not None
    assert text.pooled.shape == (1, 1280)
    assert said.shape == noisy.shape
    assert len(learning) == 986 - 6  # nothing hears the last layer of the first text encoder
