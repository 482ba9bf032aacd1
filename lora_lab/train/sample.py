"""Sample pictures drawn while training: the same prompts and first noise in every run, so that runs compare."""

import importlib
import inspect
import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from lora_lab.config import TrainConfig
from lora_lab.failure import Failure
from lora_lab.plain_files import read_file
from lora_lab.train.draws import normal, torch_draws
from lora_lab.train.families.base import Base
from lora_lab.train.noise import TRAIN_STEPS
from lora_lab.train.step import Session
from lora_lab.whole_files import write_whole

SAMPLERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddim": ("scheduling_ddim", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": ("scheduling_pndm", "PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("scheduling_lms_discrete", "LMSDiscreteScheduler", {}),
    "euler": ("scheduling_euler_discrete", "EulerDiscreteScheduler", {}),
    "euler_a": ("scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", {}),
    "heun": ("scheduling_heun_discrete", "HeunDiscreteScheduler", {}),
    "dpm_2": ("scheduling_k_dpm_2_discrete", "KDPM2DiscreteScheduler", {}),
    "dpm_2_a": ("scheduling_k_dpm_2_ancestral_discrete", "KDPM2AncestralDiscreteScheduler", {}),
    "dpmsolver": (
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    ),
    "dpmsolver++": ("scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler", {}),
    "dpmsingle": ("scheduling_dpmsolver_singlestep", "DPMSolverSinglestepScheduler", {}),
}
"""sd-scripts' names, without its `k_` synonyms: module, class and settings in diffusers.schedulers."""


SMALLEST = 2**-24
"""In place of ᾱ = 0, by which samplers divide; it is diffusers' own for `rescale_betas_zero_snr`."""


@dataclass(frozen=True)
class Prompt:
    """One line of a prompt file: text, and what sd-scripts' options after it say."""

    text: str
    negative: str = ""
    width: int = 512
    height: int = 512
    seed: int | None = None
    guidance: float = 7.5
    steps: int = 30


_OPTION = re.compile(r"\s+--([nwhdls])\s+")
_FIELDS: dict[str, tuple[str, Any]] = {
    "n": ("negative", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "l": ("guidance", float),
    "s": ("steps", int),
}


def parse_prompt(line: str, default: Prompt) -> Prompt:
    """Read `text --n negative --w 512 --h 512 --d seed --l guidance --s steps`.

    Raises Failure when an option's value is no number, or a side is no multiple of 8.
    """
    text, *options = _OPTION.split(" " + line.strip() + " ")
    prompt = replace(default, text=text.strip())
    for letter, value in zip(options[::2], options[1::2], strict=True):
        name, kind = _FIELDS[letter]
        try:
            prompt = replace(prompt, **{name: kind(value.strip())})
        except ValueError as error:
            raise Failure(f"sample prompt {line!r}: --{letter} wants a number, not {value.strip()!r}") from error
    if prompt.width % 8 or prompt.height % 8 or min(prompt.width, prompt.height) < 8:
        raise Failure(f"sample prompt {line!r}: sides must be multiples of 8")
    if not (1 <= prompt.steps <= TRAIN_STEPS and math.isfinite(prompt.guidance)):
        raise Failure(f"sample prompt {line!r}: --s must be 1 to {TRAIN_STEPS}, --l a finite number")
    return prompt


def read_prompts(source: str | Sequence[str] | None, folder: Path, size: tuple[int, int]) -> tuple[Prompt, ...]:
    """Prompts of a text file (one a line, # comments) or of a list; the size is the training resolution by default."""
    if source is None:
        return ()
    lines: Sequence[str]
    if isinstance(source, str):
        try:
            lines = read_file(folder / source).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(
                f"sample_prompts {source} cannot be read", "give a UTF-8 text file, one prompt a line"
            ) from error
    else:
        lines = source
    default = Prompt("", width=size[0] // 8 * 8, height=size[1] // 8 * 8)
    return tuple(parse_prompt(line, default) for line in lines if line.strip() and not line.lstrip().startswith("#"))


def make_sampler(name: str, base: Base) -> Any:
    """Return diffusers' sampler of that name with the base's noise schedule."""
    module, attribute, settings = SAMPLERS[name.removeprefix("k_")]
    try:
        kind = getattr(importlib.import_module(f"diffusers.schedulers.{module}"), attribute)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # that diffusers 1.0 drops dpmsolver concerns nobody yet
            return kind(
                trained_betas=_betas(base.alphas_cumprod),
                prediction_type=base.prediction_type,
                **_spacing(base, kind),
                **settings,
            )
    except ImportError as error:
        raise Failure(f"sample_sampler {name} needs a package that is missing: {error.name}", "use ddim") from error


def _betas(acp: Tensor) -> Any:
    kept = acp.cpu().clamp(min=SMALLEST)
    previous = torch.cat([torch.ones(1), kept[:-1]])
    return (1 - kept / previous).numpy()


def _spacing(base: Base, kind: Any) -> dict[str, Any]:
    """Start from pure noise where the schedule ends in it (Lin et al. 2023, section 3.3), if the sampler knows how."""
    known = "timestep_spacing" in inspect.signature(kind.__init__).parameters
    return {"timestep_spacing": "trailing"} if known and float(base.alphas_cumprod[-1]) == 0 else {}


@torch.no_grad()
def draw(session: Session, prompts: Sequence[Prompt], config: TrainConfig) -> list[Image.Image]:
    """Draw one picture per prompt with classifier-free guidance (Ho & Salimans 2022).

    The pack must be serving one adapter or none. The first noise depends on the prompt's seed, else its number.
    """
    return [_draw_one(session, prompt, number, config) for number, prompt in enumerate(prompts)]


def _draw_one(session: Session, prompt: Prompt, number: int, config: TrainConfig) -> Image.Image:
    base, family, sampler = session.base, session.family, config.sample_sampler
    scheduler = make_sampler(sampler, base)
    scheduler.set_timesteps(prompt.steps)
    device = base.alphas_cumprod.device
    nothing, *ids = (family.tokenize(base, text, 225) for text in ("", prompt.negative, prompt.text))
    with session.accelerator.autocast():
        text = family.encode(base, _trimmed(torch.stack(ids), nothing).to(device), config.clip_skip)
    seed = number if prompt.seed is None else prompt.seed
    shape = (1, 4, prompt.height // 8, prompt.width // 8)
    latents = normal(shape, seed, "sample").to(device) * scheduler.init_noise_sigma
    draws = torch_draws(seed, "sample", "ancestral")
    extra = {"generator": draws} if "generator" in scheduler.step.__code__.co_varnames else {}
    side = [prompt.height, prompt.width]
    sizes = torch.tensor([[*side, 0, 0, *side]] * 2, dtype=torch.float32, device=device)
    for t in scheduler.timesteps:
        twice = scheduler.scale_model_input(torch.cat([latents, latents]), t)
        with session.accelerator.autocast():
            without, within = family.predict(base, twice, t.to(device).expand(2), text, sizes).chunk(2)
        latents = scheduler.step(without + prompt.guidance * (within - without), t, latents, **extra).prev_sample
    pixels = base.vae.decode(latents.float() / base.scaling_factor).sample  # type: ignore[operator]  # a diffusers VAE
    array = ((pixels[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).to("cpu", torch.uint8).numpy()
    return Image.fromarray(array)


def _trimmed(ids: Tensor, nothing: Tensor) -> Tensor:
    """Drop the chunks that only pad, of both texts alike: (2, ..., 3, 77) → (2, ..., chunks, 77).

    `nothing` are the ids of no text: how a chunk looks that only pads depends on the tokenizer.
    """
    used = max(chunk + 1 for chunk in range(ids.shape[-2]) if chunk == 0 or (ids != nothing)[..., chunk, :].any())
    return ids[..., :used, :]


def save_picture(picture: Image.Image, path: Path) -> Path:
    """Write a PNG."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())
    return path
