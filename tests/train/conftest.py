"""A tiny base of the SD 1.x architecture with random weights, and a few drawn pictures."""

import random
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_lab.config import TrainConfig
from lora_lab.quickstart.draw import draw, random_scene
from lora_lab.tracking.events import Event, Metrics, ignore
from lora_lab.train import prepare, step
from lora_lab.train.dataset import read_dataset
from lora_lab.train.families.sd1 import SD1
from lora_lab.train.loop import PackData, Progress
from lora_lab.train.opening import open_base
from lora_lab.train.pack import Pack
from lora_lab.train.run import Run, RunResult, train_runs
from lora_lab.train.step import Member, Session, pack_step

TOKENIZER = Path(__file__).parents[2] / "lora_lab" / "quickstart" / "base" / "tokenizer"

MODEL_INDEX_XL = """{
  "_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": true,
  "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
  "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
  "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
  "vae": ["diffusers", "AutoencoderKL"], "feature_extractor": [null, null], "image_encoder": [null, null]
}
"""

MODEL_INDEX = """{
  "_class_name": "StableDiffusionPipeline",
  "feature_extractor": [null, null], "requires_safety_checker": false, "safety_checker": [null, null],
  "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
  "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
  "vae": ["diffusers", "AutoencoderKL"]
}
"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a small base is like: SD 1 or SD 2, how many levels and layers its U-Net has, what it predicts."""

    v2: bool = False
    levels: int = 2
    layers: int = 1
    prediction: str = "epsilon"

    def unet(self) -> UNet2DConditionModel:
        """A random U-Net with attention everywhere but at its bottom."""
        attended = self.levels - 1
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32, 48, 48)[: self.levels],
            layers_per_block=self.layers,
            down_block_types=(*("CrossAttnDownBlock2D",) * attended, "DownBlock2D"),
            up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * attended),
            cross_attention_dim=16,
            attention_head_dim=[2, 4, 6, 6][: self.levels] if self.v2 else 2,
            use_linear_projection=self.v2,
            norm_num_groups=8,
        )

    def text_encoder(self) -> CLIPTextModel:
        """A random text encoder; OpenAI's CLIP computes a quick GELU, OpenCLIP a whole one."""
        return CLIPTextModel(
            CLIPTextConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=3,
                num_attention_heads=2,
                vocab_size=49408,
                bos_token_id=49406,
                eos_token_id=49407,
                pad_token_id=49407,
                hidden_act="gelu" if self.v2 else "quick_gelu",
            )
        )


XL_TEXT_WIDTHS = (16, 24)
"""Widths of the states of the small SDXL's two text encoders; the U-Net listens to both beside each other."""


@dataclass(frozen=True, kw_only=True)
class ShapeXL:
    """What a small SDXL base is like: three levels, the upper without attention, two text encoders, sizes are told."""

    deep: bool = False
    prediction: str = "epsilon"

    def unet(self) -> UNet2DConditionModel:
        """A random U-Net; `deep` has all the layers of the published one."""
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32, 48),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10) if self.deep else 1,
            cross_attention_dim=sum(XL_TEXT_WIDTHS),
            attention_head_dim=[2, 4, 6],
            use_linear_projection=True,
            norm_num_groups=8,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=12 + 6 * 8,
        )

    def text_encoders(self) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
        """CLIP, and OpenCLIP with a projection of width 12."""
        config: dict[str, Any] = {
            "intermediate_size": 32,
            "num_attention_heads": 2,
            "vocab_size": 49408,
            "bos_token_id": 49406,
            "eos_token_id": 49407,
        }
        first = CLIPTextConfig(
            hidden_size=XL_TEXT_WIDTHS[0], num_hidden_layers=3, hidden_act="quick_gelu", pad_token_id=49407, **config
        )
        second = CLIPTextConfig(
            hidden_size=XL_TEXT_WIDTHS[1],
            num_hidden_layers=4,
            hidden_act="gelu",
            pad_token_id=0,
            projection_dim=12,
            **config,
        )
        return CLIPTextModel(first), CLIPTextModelWithProjection(second)


def make_base(folder: Path, shape: Shape | ShapeXL) -> Path:
    """Write a random base: latents an eighth of the picture, text states of width 16 (SDXL: 40)."""
    torch.manual_seed(0)
    xl = isinstance(shape, ShapeXL)
    unet = shape.unet()
    levels, layers = (2, 1) if isinstance(shape, ShapeXL) else (shape.levels, shape.layers)
    deep = levels != 2 or (isinstance(shape, ShapeXL) and shape.deep)
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 24, 24) if deep else (8, 8, 8, 8),
        layers_per_block=2 if deep else layers,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=0.13025 if xl else 0.18215,
    )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    encoders = shape.text_encoders() if isinstance(shape, ShapeXL) else (shape.text_encoder(),)
    for number, encoder in enumerate(encoders, 1):
        ending = "" if number == 1 else f"_{number}"
        encoder.save_pretrained(folder / f"text_encoder{ending}")
        shutil.copytree(TOKENIZER, folder / f"tokenizer{ending}")
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=shape.prediction
    ).save_pretrained(folder / "scheduler")
    padded_otherwise = "tokenizer_2" if xl else "tokenizer"
    if xl or (isinstance(shape, Shape) and shape.v2):
        about = folder / padded_otherwise / "tokenizer_config.json"
        about.write_text(about.read_text().replace('"pad_token": "<|endoftext|>"', '"pad_token": "!"'))
    (folder / "model_index.json").write_text(MODEL_INDEX_XL if xl else MODEL_INDEX)
    return folder


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SD 1.x base in diffusers' layout."""
    return make_base(tmp_path_factory.mktemp("base") / "tiny", Shape())


@pytest.fixture(scope="session")
def whole_bases(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """An SD 1 and an SD 2 (v-prediction) base with all the layers of the published ones, each very narrow."""
    top = tmp_path_factory.mktemp("bases")
    shapes = {"sd1": Shape(levels=4, layers=2), "sd2": Shape(v2=True, levels=4, layers=2, prediction="v_prediction")}
    return {name: make_base(top / name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def xl_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SDXL base in diffusers' layout, with few layers."""
    return make_base(tmp_path_factory.mktemp("base") / "xl", ShapeXL())


@pytest.fixture(scope="session")
def whole_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SDXL base whose U-Net has all the layers of the published one, each very narrow."""
    return make_base(tmp_path_factory.mktemp("bases") / "sdxl", ShapeXL(deep=True))


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn pictures of 128 × 128 in `2_lumi`, with captions."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "2_lumi").mkdir()
    draws = random.Random(0)
    for number in range(8):
        scene = random_scene(draws, ("lumi",))
        draw(scene).save(folder / "2_lumi" / f"{number}.png")
        (folder / "2_lumi" / f"{number}.txt").write_text(f"lumi, {scene.colour}, {scene.background} background")
    return folder


@pytest.fixture
def make_config(base_folder: Path, picture_folder: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """Return a function that makes a quick config: 64 × 64, fp32, rank 4, six steps."""

    def make(**values: object) -> TrainConfig:
        quick: dict[str, object] = {
            "base_model": str(base_folder),
            "img_folder": str(picture_folder),
            "output_folder": str(tmp_path / "out"),
            "train_resolution": 64,
            "min_bucket_resolution": 64,
            "max_bucket_resolution": 128,
            "mixed_precision": "no",
            "save_precision": "float",
            "net_dim": 4,
            "alpha": 2.0,
            "batch_size": 2,
            "max_steps": 6,
            "learning_rate": 1e-3,
        }
        return TrainConfig(**{**quick, **values})

    return make


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and loading never ask the network for anything."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise AssertionError(f"the network was asked: {address}")
        connect(self, address)  # worker processes pass tensors through local sockets

    monkeypatch.setattr(socket.socket, "connect", refuse)


@dataclass
class Trained:
    """What a run left and told."""

    folder: Path
    events: list[Event] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    result: RunResult | None = None

    def curve(self, key: str) -> dict[int, float]:
        """Values of a metric by step."""
        return {
            event.step: event.values[key] for event in self.events if isinstance(event, Metrics) and key in event.values
        }

    def told(self, kind: type) -> list[Event]:
        """Events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The finished LoRA."""
        assert self.result is not None
        return safetensors.torch.load_file(self.result.lora)


Train = Callable[..., Trained]


@pytest.fixture
def train_pack_of(tmp_path: Path) -> Callable[[Sequence[TrainConfig]], list[Trained]]:
    """Return a function that trains configs as one pack, each into a folder of its own."""

    def train(configs: Sequence[TrainConfig]) -> list[Trained]:
        start = len(list(tmp_path.glob("run*")))
        trained = [Trained(tmp_path / f"run{start + number}") for number in range(len(configs))]
        runs = [
            Run(config=config, folder=one.folder, record=one.events.append)
            for config, one in zip(configs, trained, strict=True)
        ]
        for one, result in zip(trained, train_runs(runs, trained[0].progress.append), strict=True):
            one.result = result
        return trained

    return train


@pytest.fixture
def train(
    make_config: Callable[..., TrainConfig], train_pack_of: Callable[[Sequence[TrainConfig]], list[Trained]]
) -> Train:
    """Return a function that trains the quick config with some values changed."""
    return lambda **values: train_pack_of([make_config(**values)])[0]


@dataclass(frozen=True)
class Opened:
    """A pack on its base, ready for single steps."""

    session: Session
    members: list[Member]
    data: PackData


@pytest.fixture
def open_pack(tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Return a function that opens a pack for some configs, as a run does; one is open at a time.

    With `up`, that deviation of every adapter's `up`: the same weights at each call, which plainly change the base.
    """
    packs: list[Pack] = []

    def open_(*configs: TrainConfig, up: float = 0.0) -> Opened:
        for pack in packs:
            pack.detach()
        packs.clear()
        accelerator = prepare.make_accelerator(configs[0].mixed_precision)
        family, base = open_base(configs, accelerator)
        pack = prepare.make_pack(configs, family, base)
        packs.append(pack)
        session = Session(accelerator, family, base, pack)
        prepare.prepare_models(session, configs[0], ignore)
        data = prepare.make_data(configs, read_dataset(configs[0]), session, ignore)
        members = [
            prepare.add_member(session, config, key, data, (tmp_path / str(key), ignore))
            for key, config in enumerate(configs)
        ]
        torch.manual_seed(1)
        for _, weights in (pair for member in members for pair in member.layers if up):
            torch.nn.init.normal_(weights.up, std=up)
        return Opened(session, members, data)

    yield open_
    for pack in packs:
        pack.detach()


@pytest.fixture
def same_tensors() -> Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]:
    """Return a function that says whether two LoRAs are equal bit for bit."""

    def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
        assert one.keys() == other.keys()
        return all(torch.equal(one[key], other[key]) for key in one)

    return same


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, torch.Tensor]]:
    """Return a function that gives the gradients of the first adapter after a step on some batches."""

    def of(opened: Opened, *batches: Any) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}

        def note(member: Member) -> torch.Tensor:
            for name, weights in member.layers:
                for part in ("down", "up"):
                    gradient = getattr(weights, part).grad
                    found[f"{name}.{part}"] = torch.zeros(1) if gradient is None else gradient.clone()
            member.optimizer.zero_grad()
            return torch.zeros(())

        with monkeypatch.context() as patch:
            patch.setattr(step, "_move", note)
            pack_step(opened.session, opened.members, batches)
        return found

    return of


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """What the U-Net was asked and what it answered: noisy latents, timesteps, text states, prediction."""
    caught: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = []
    real = SD1.predict

    def note(self: SD1, base: Any, noisy: torch.Tensor, t: torch.Tensor, text: Any, *sizes: Any) -> torch.Tensor:
        answer = real(self, base, noisy, t, text, *sizes)
        caught.append((noisy.detach(), t, text.states.detach(), answer.detach()))
        return answer

    monkeypatch.setattr(SD1, "predict", note)
    return caught
