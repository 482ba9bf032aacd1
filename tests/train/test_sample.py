"""Sample pictures: prompt lines, samplers, and the same picture as plain diffusers draws from the LoRA file."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from lora_lab.config import PARAMETERS, TrainConfig
from lora_lab.failure import Failure
from lora_lab.train import lora_file, sample
from lora_lab.train.draws import normal
from lora_lab.train.sample import Prompt, parse_prompt, read_prompts

PLAIN = Prompt("", width=64, height=64)


def test_options_of_a_prompt() -> None:
    """Every option of sd-scripts after the text sets its field, in any order; the rest is the default."""
    line = "a lumi, red --n blurry, dark --h 128 --w 64 --l 3.5 --s 4 --d 9"
    assert parse_prompt(line, PLAIN) == Prompt("a lumi, red", "blurry, dark", 64, 128, 9, 3.5, 4)
    assert parse_prompt("a lumi", PLAIN) == Prompt("a lumi", "", 64, 64, None, 7.5, 30)
    assert parse_prompt("--n dark", PLAIN) == Prompt("", "dark", 64, 64)
    assert parse_prompt("snow--white --s 2", PLAIN) == Prompt("snow--white", "", 64, 64, steps=2)


@pytest.mark.parametrize(
    "line", ["a --w x", "a --s", "a --w 65", "a --h 0", "a --w -8", "a --s 0", "a --s 1001", "a --l nan", "a --d 1.5"]
)
def test_bad_options(line: str) -> None:
    """An option that is no number, or one that no sampler can use, is a Failure that shows the line."""
    with pytest.raises(Failure, match="sample prompt") as caught:
        parse_prompt(line, PLAIN)
    assert line in str(caught.value)


def test_prompt_files(tmp_path: Path) -> None:
    """A file has one prompt a line; comments, empty lines and a byte-order mark are passed over; a list is one too."""
    (tmp_path / "prompts.txt").write_text("\ufeff# these\na lumi --w 128\n\n  # no\n  a thing\n", encoding="utf-8")
    found = read_prompts("prompts.txt", tmp_path, (64, 100))
    assert found == (Prompt("a lumi", width=128, height=96), Prompt("a thing", width=64, height=96))
    assert read_prompts(["a lumi"], tmp_path, (64, 64)) == (Prompt("a lumi", width=64, height=64),)
    assert read_prompts(None, tmp_path, (64, 64)) == ()
    with pytest.raises(Failure, match=r"missing\.txt cannot be read"):
        read_prompts("missing.txt", tmp_path, (64, 64))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(Failure, match=r"latin\.txt cannot be read"):
        read_prompts("latin.txt", tmp_path, (64, 64))


def test_padding_chunks_are_trimmed() -> None:
    """Chunks that only pad in both texts go; a chunk that one of them needs stays in both."""
    padding = torch.tensor([1] + [2] * 76)
    words = torch.tensor([1] + [5] * 10 + [2] * 66)
    short = torch.stack([words, padding, padding])
    long = torch.stack([words, words, padding])
    nothing = padding.expand(3, 77)
    assert sample._trimmed(torch.stack([short, short]), nothing).shape == (2, 1, 77)
    assert torch.equal(sample._trimmed(torch.stack([short, long]), nothing), torch.stack([short[:2], long[:2]]))


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_padding_of_every_tokenizer_is_trimmed(
    whole_bases: Mapping[str, Path],
    xl_base: Path,
    open_pack: Callable[..., Any],
    make_config: Callable[..., TrainConfig],
    name: str,
) -> None:
    """A short prompt is one chunk whatever its tokenizers pad with, and a long negative prompt keeps its chunks."""
    v2 = name == "sd2"
    path = {**whole_bases, "sdxl": xl_base}[name]
    session = open_pack(make_config(base_model=str(path), v2=v2, v_parameterization=v2)).session
    empty, short, long = (session.family.tokenize(session.base, text, 225) for text in ("", "red", "red " * 80))
    assert sample._trimmed(torch.stack([empty, short]), empty).shape[-2:] == (1, 77)
    assert sample._trimmed(torch.stack([long, short]), empty).shape[-2:] == (2, 77)


def pixels(picture: Image.Image) -> numpy.ndarray:
    """Values from 0 to 255."""
    return numpy.asarray(picture, dtype=float)


def drawn(opened: Any, prompt: Prompt, config: TrainConfig, *keys: int) -> Image.Image:
    """The picture that the adapters `keys` make of a prompt."""
    with opened.session.pack.serving(*keys):
        return sample.draw(opened.session, [prompt], config)[0]


def in_diffusers(base: Path, file: Path | None, prompt: Prompt) -> Image.Image:
    """The picture that plain diffusers draws."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
        if file is not None:
            pipe.load_lora_weights(file)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
    )
    latents = normal((1, 4, prompt.height // 8, prompt.width // 8), prompt.seed or 0, "sample")
    return pipe(
        prompt.text,
        negative_prompt=prompt.negative,
        width=prompt.width,
        height=prompt.height,
        num_inference_steps=prompt.steps,
        guidance_scale=prompt.guidance,
        latents=latents,
    ).images[0]


@pytest.mark.parametrize("save_precision", ["float", "fp16"])
def test_diffusers_draws_the_same_picture(
    open_pack: Callable[..., Any],
    make_config: Callable[..., TrainConfig],
    base_folder: Path,
    tmp_path: Path,
    save_precision: str,
) -> None:
    """A LoRA file loaded by diffusers alone draws the picture that the trainer draws; without it, another one.

    Two levels of 255 are allowed for float32 sums in another order, and what fp16 rounds off the weights.
    """
    config = make_config(net_dim=4, alpha=3.0)
    opened = open_pack(config, up=0.3)
    prompt = Prompt("lumi, red", "dark", 64, 96, seed=5, guidance=4.0, steps=4)
    ours = pixels(drawn(opened, prompt, config, 0))
    bare = pixels(drawn(opened, prompt, config))
    state = lora_file.state_dict(opened.members[0].layers, lora_file.SAVE_DTYPES[save_precision])
    lora_file.save_lora(tmp_path / "lora.safetensors", state, {})
    theirs = pixels(in_diffusers(base_folder, tmp_path / "lora.safetensors", prompt))
    assert ours.shape == (96, 64, 3)
    assert numpy.abs(ours - bare).mean() > 3  # the base is drawn at random: 4.7 with transformers 5.3
    assert numpy.abs(ours - theirs).max() <= (2 if save_precision == "float" else 4)
    assert numpy.abs(pixels(in_diffusers(base_folder, None, prompt)) - bare).max() <= 2


@pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # diffusers' LMS and DPM2 hand tensors to NumPy
def test_every_sampler_that_a_config_may_name(
    open_pack: Callable[..., Any], make_config: Callable[..., TrainConfig]
) -> None:
    """Each value of sample_sampler draws a picture, the same one twice, and it is not all one colour."""
    names = PARAMETERS["sample_sampler"].choices
    assert names
    config = make_config()
    opened = open_pack(config, up=0.1)
    for name in names:
        chosen = config.model_copy(update={"sample_sampler": name})
        prompt = Prompt("lumi", width=64, height=64, guidance=2.0, steps=3)
        picture = pixels(drawn(opened, prompt, chosen, 0))
        assert (picture == pixels(drawn(opened, prompt, chosen, 0))).all(), name
        assert picture.std() > 1, name


def test_seed_and_prompt_matter(open_pack: Callable[..., Any], make_config: Callable[..., TrainConfig]) -> None:
    """Without a seed the prompt's number chooses the noise; another seed, text or negative draws another picture."""
    config = make_config()
    opened = open_pack(config, up=0.3)
    plain = Prompt("lumi", width=64, height=64, steps=2)
    changed = [
        plain,
        Prompt("lumi", width=64, height=64, steps=2, seed=0),
        Prompt("lumi", width=64, height=64, steps=2, seed=1),
        Prompt("a red thing", width=64, height=64, steps=2, seed=0),
        Prompt("lumi", "a red thing", width=64, height=64, steps=2, seed=0),
        Prompt("lumi", width=64, height=64, steps=2, seed=0, guidance=1.0),
    ]
    first, same, *others = [drawn(opened, prompt, config, 0) for prompt in changed]
    assert first == same
    assert all(other != first for other in others)
    with opened.session.pack.serving(0):
        two = sample.draw(opened.session, [plain, plain], config)
    assert two[0] == first
    assert two[1] == drawn(opened, changed[2], config, 0)


def test_long_prompts_reach_the_picture(open_pack: Callable[..., Any], make_config: Callable[..., TrainConfig]) -> None:
    """Words beyond the 75th token change the picture."""
    config = make_config()
    opened = open_pack(config, up=0.3)
    long = "lumi " * 80
    pictures = [
        drawn(opened, Prompt(text, width=64, height=64, steps=2, seed=1), config, 0) for text in (long, long + "red")
    ]
    assert pictures[0] != pictures[1]


def test_pictures_are_written_whole(tmp_path: Path) -> None:
    """A picture comes back from disk as it was, and nothing else lies beside it."""
    picture = Image.fromarray(numpy.arange(192, dtype=numpy.uint8).reshape(8, 8, 3))
    path = sample.save_picture(picture, tmp_path / "sample" / "one.png")
    assert list((tmp_path / "sample").iterdir()) == [path]
    with Image.open(path) as found:
        assert (numpy.asarray(found) == numpy.asarray(picture)).all()
