"""A model is told from its header: real names and shapes of real files, and anything that is none."""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_lab.document.model_header import ModelHeader, read_model_header
from lora_lab.document.tensor_table import MOST_TENSORS

BLOCK, TO_K = "attentions_0_transformer_blocks_0", "lora_unet_mid_block_attn2_to_k"
UNET, VAE = "model.diffusion_model.", "first_stage_model."
OUR_VAE = {f"{VAE}decoder.conv_in.weight": [512, 4, 3, 3], f"{VAE}encoder.conv_in.weight": [128, 3, 3, 3]}
CLIP_L = "transformer.text_model.embeddings.token_embedding.weight"
SD1 = {
    f"{UNET}input_blocks.0.0.weight": [320, 4, 3, 3],
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn1.to_k.weight": [320, 320],
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 768],
    f"cond_stage_model.{CLIP_L}": [49408, 768],
    **OUR_VAE,
}
SD2 = {
    f"{UNET}input_blocks.0.0.weight": [320, 4, 3, 3],
    f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 1024],
    "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": [3072, 1024],
    **OUR_VAE,
}
SDXL = {
    f"{UNET}input_blocks.0.0.weight": [320, 4, 3, 3],
    f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": [640, 2048],
    f"{UNET}label_emb.0.0.weight": [1280, 2816],
    f"conditioner.embedders.0.{CLIP_L}": [49408, 768],
    "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight": [3840, 1280],
    **OUR_VAE,
}
REFINER = {
    f"{UNET}input_blocks.0.0.weight": [384, 4, 3, 3],
    f"{UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": [768, 1280],
    "conditioner.embedders.0.model.transformer.resblocks.0.attn.in_proj_weight": [3840, 1280],
}
FLUX = {"double_blocks.0.img_attn.qkv.weight": [9216, 3072], "img_in.weight": [3072, 64]}
SD3 = {
    f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": [4608, 1536],
    f"{UNET}x_embedder.proj.weight": [1536, 16, 2, 2],
    "first_stage_model.decoder.conv_in.weight": [512, 16, 3, 3],
}


def write(
    path: Path, shapes: Mapping[str, list[int]], texts: Mapping[str, str] | None = None, kind: str = "F16"
) -> Path:
    """Write a .safetensors file of which only the header is there."""
    header: dict[str, Any] = {name: {"dtype": kind, "shape": shape} for name, shape in shapes.items()}
    data = json.dumps({"__metadata__": texts or {}, **header}).encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data)
    return path


def header(folder: Path, shapes: Mapping[str, list[int]], texts: Mapping[str, str] | None = None) -> ModelHeader:
    """Return what is read of such a file."""
    found = read_model_header(write(folder / "a.safetensors", shapes, texts))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("shapes", "kind", "family"),
    [
        (SD1, "checkpoint", "sd1"),
        (SD2, "checkpoint", "sd2"),
        (SDXL, "checkpoint", "sdxl"),
        (REFINER, "checkpoint", "sdxl-refiner"),
        (SD3, "checkpoint", "sd3"),
        (FLUX, "unet", "flux"),
        ({name: side for name, side in SDXL.items() if name.startswith(UNET)}, "unet", "sdxl"),
        (
            {
                "conv_in.weight": [320, 4, 3, 3],
                "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": [320, 768],
            },
            "unet",
            "sd1",
        ),
        (OUR_VAE, "vae", None),
        ({name.removeprefix(VAE): side for name, side in OUR_VAE.items()}, "vae", None),
        ({"text_model.encoder.layers.0.mlp.fc1.weight": [3072, 768]}, "text_encoder", None),
        ({"emb_params": [8, 768]}, "embedding", None),
        ({"clip_l": [8, 768], "clip_g": [8, 1280]}, "embedding", None),
        ({"<cat>": [768]}, "embedding", None),
        ({"control_model.input_blocks.0.0.weight": [320, 4, 3, 3]}, "unknown", None),
        ({}, "unknown", None),
    ],
)
def test_kind_and_family(shapes: dict[str, list[int]], kind: str, family: str | None, tmp_path: Path) -> None:
    """Files of every kind, by the names and shapes that the published ones have."""
    found = header(tmp_path, shapes)
    assert (found.kind, found.family) == (kind, family)


@pytest.mark.parametrize(
    ("shapes", "network", "family"),
    [
        ({f"lora_unet_down_blocks_0_{BLOCK}_attn2_to_k.lora_down.weight": [8, 768]}, "lora", "sd1"),
        ({f"lora_unet_mid_block_{BLOCK}_attn2_to_k.lora_down.weight": [8, 1024]}, "lora", "sd2"),
        ({"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": [8, 2048]}, "lora", "sdxl"),
        ({"lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": [4, 768]}, "lora", "sd1"),
        ({"lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": [4, 1024]}, "lora", "sd2"),
        ({"lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": [4, 1280]}, "lora", "sdxl"),
        ({"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": [4, 768]}, "lora", None),
        ({"lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight": [8, 320, 3, 3]}, "locon", None),
        ({f"{TO_K}.hada_w1_a": [1280, 8], f"{TO_K}.hada_w1_b": [8, 768]}, "loha", "sd1"),
        ({f"{TO_K}.lokr_w1": [8, 8], f"{TO_K}.lokr_w2": [160, 256]}, "lokr", "sdxl"),
        ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": [16, 3072]}, "lora", "flux"),
        ({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": [4, 768]}, "peft", "sd1"),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": [4, 3072]}, "peft", "flux"),
        (
            {"lora_unet_a_attn2_to_k.lora_down.weight": [4, 768], "lora_unet_a_attn2_to_k.dora_scale": [320, 1]},
            "dora",
            "sd1",
        ),
    ],
)  # fmt: skip
def test_loras(shapes: dict[str, list[int]], network: str, family: str | None, tmp_path: Path) -> None:
    """A LoRA's network and base by its tensors (names and widths of sd-scripts, LyCORIS and diffusers)."""
    found = header(tmp_path, shapes)
    assert found.kind == "lora"
    assert found.lora is not None
    assert (found.lora.network, found.family) == (network, family)


def test_lora_facts(tmp_path: Path) -> None:
    """Ranks, alpha, clip skip and parts come from the header."""
    texts = {"ss_network_alpha": "8.0", "ss_clip_skip": "2"}
    found = header(tmp_path, {"lora_unet_a.lora_down.weight": [16, 4], "lora_te_b.lora_down.weight": [8, 4]}, texts)
    assert found.lora is not None
    assert found.lora[:6] == ("lora", frozenset({16, 8}), 8.0, 2, True, True)
    nothing = header(tmp_path, {"lora_unet_a.lora_down.weight": [16, 4]}, {"ss_network_alpha": "None"})
    assert nothing.lora is not None
    assert nothing.lora[:6] == ("lora", frozenset({16}), None, None, True, False)


@pytest.mark.parametrize(
    ("shapes", "texts", "prediction", "zero"),
    [
        ({**SDXL, "v_pred": [0], "ztsnr": [0]}, {}, "v_prediction", True),
        ({**SDXL, "v_pred": [0]}, {"modelspec.prediction_type": "epsilon"}, "v_prediction", None),
        (SDXL, {"modelspec.prediction_type": "epsilon"}, "epsilon", None),
        (SD2, {"modelspec.prediction_type": "v"}, "v_prediction", None),
        (SD2, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction", None),
        (SD2, {"ss_base_model_version": "sd_v2_v", "ss_zero_terminal_snr": "True"}, "v_prediction", True),
        (SD1, {"ss_zero_terminal_snr": "False"}, None, False),
        (SD2, {}, None, None),
    ],
)
def test_prediction(
    shapes: dict[str, list[int]], texts: dict[str, str], prediction: str | None, zero: bool | None, tmp_path: Path
) -> None:
    """What the model predicts: marks of the file first, as loaders have it, then its texts."""
    found = header(tmp_path, shapes, texts)
    assert (found.prediction, found.zero_terminal_snr) == (prediction, zero)


def test_texts_name_the_family_where_tensors_do_not(tmp_path: Path) -> None:
    """A text encoder's LoRA for SDXL's first encoder is told by its metadata; tensors win over metadata."""
    first = {"lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": [4, 768]}
    assert header(tmp_path, first, {"ss_base_model_version": "sdxl_base_v1-0"}).family == "sdxl"
    assert header(tmp_path, SD1, {"modelspec.architecture": "stable-diffusion-xl-v1-base"}).family == "sd1"


def test_channels_and_dtypes(tmp_path: Path) -> None:
    """Inpainting models take 9 channels, Flux' VAE has 16; the format of most numbers counts, not of most tensors."""
    assert header(tmp_path, SD1).in_channels == 4
    assert header(tmp_path, {**SD1, f"{UNET}input_blocks.0.0.weight": [320, 9, 3, 3]}).in_channels == 9
    assert header(tmp_path, SD1).latent_channels == 4
    assert header(tmp_path, SD3).latent_channels == 16
    names = {f"{UNET}a": ("F16", [100]), f"{UNET}b": ("F32", [1]), f"{UNET}c": ("F32", [1]), f"{VAE}a": ("F32", [3])}
    data = json.dumps({name: {"dtype": kind, "shape": side} for name, (kind, side) in names.items()}).encode()
    (tmp_path / "b.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
    found = read_model_header(tmp_path / "b.safetensors")
    assert found is not None
    assert found.dtypes == {"unet": "F16", "vae": "F32"}
    assert found.parameters == {"unet": 102, "vae": 3}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_pickles_that_torch_wrote(zipped: bool, nested: bool, tmp_path: Path) -> None:
    """A .ckpt tells as much as a .safetensors file, in torch's format of today and in that before 1.6."""
    one = torch.zeros((1,), dtype=torch.float16)
    state = OrderedDict((name, one.expand(shape)) for name, shape in SD1.items())
    saved = {"state_dict": state, "global_step": 3, "callbacks": {"x": [1, (2, 3)]}} if nested else state
    torch.save(saved, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_model_header(tmp_path / "a.ckpt")
    assert found is not None
    assert (found.kind, found.family, found.in_channels) == ("checkpoint", "sd1", 4)
    assert found.dtypes == {"unet": "F16", "vae": "F16", "text_encoder": "F16"}


def test_embedding_pickle(tmp_path: Path) -> None:
    """A textual inversion of the old kind is told."""
    vector = torch.nn.Parameter(torch.zeros(2, 768))
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vector}, "name": "x"}, tmp_path / "a.pt")
    found = read_model_header(tmp_path / "a.pt")
    assert found is not None
    assert found.kind == "embedding"


class Bomb:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "run"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_never_run(protocol: int, tmp_path: Path) -> None:
    """What a pickle would call is not called, in any protocol, alone or in a zip archive."""
    mark = tmp_path / "mark"
    data = pickle.dumps({"state_dict": Bomb(mark)}, protocol)
    (tmp_path / "a.ckpt").write_bytes(data)
    assert read_model_header(tmp_path / "a.ckpt") is None
    with zipfile.ZipFile(tmp_path / "b.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", data)
    assert read_model_header(tmp_path / "b.ckpt") is None
    assert not mark.exists()
    pickle.loads(data)
    assert mark.read_text() == "run"


def folder(path: Path, **configs: Any) -> ModelHeader | None:
    """Lay out a diffusers folder (unet__config means unet/config.json) and return what is read of it."""
    for name, value in configs.items():
        target = path.joinpath(*name.split("__")).with_suffix(".json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(value))
    return read_model_header(path)


def test_diffusers_folders(tmp_path: Path) -> None:
    """A folder's configs tell family, prediction, terminal SNR, channels and size; its weights the formats."""
    unet = {"cross_attention_dim": 768, "in_channels": 4, "sample_size": 64}
    (tmp_path / "a/vae").mkdir(parents=True)
    write(tmp_path / "a/vae/diffusion_pytorch_model.safetensors", {"a": [1]}, kind="F32")
    found = folder(
        tmp_path / "a",
        model_index={"_class_name": "StableDiffusionPipeline"},
        unet__config=unet,
        vae__config={"latent_channels": 4},
        scheduler__scheduler_config={"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    )
    assert found == ModelHeader("diffusers", "sd1", "v_prediction", True, {"vae": "F32"}, {"vae": 1}, {}, 4, 4, 64)
    small = folder(
        tmp_path / "b", unet__config={"cross_attention_dim": 16}, text_encoder__config={"hidden_act": "gelu"}
    )
    assert small is not None
    assert small.family == "sd2"
    other = folder(tmp_path / "c", model_index={"_class_name": "FluxPipeline"})
    assert other is not None
    assert (other.kind, other.family) == ("diffusers", "flux")
    vae = folder(tmp_path / "d", config={"_class_name": "AutoencoderKL", "latent_channels": 4})
    assert vae is not None
    assert (vae.kind, vae.latent_channels) == ("vae", 4)
    assert folder(tmp_path / "e", adapter_config={}) is not None
    (tmp_path / "f").mkdir()
    assert read_model_header(tmp_path / "f") is None


LIES: tuple[bytes, ...] = (
    b"",
    b"\x08",
    (2**63).to_bytes(8, "little") + b"{}",
    (10**6).to_bytes(8, "little") + b"{}",
    (2).to_bytes(8, "little") + b"[]",
    (2).to_bytes(8, "little") + b"\xff\xff",
    (200_000).to_bytes(8, "little") + b"[" * 200_000,
    (60).to_bytes(8, "little") + b'{"__metadata__": 3, "a": 4, "b": {"shape": "x", "dtype": []}}'.ljust(60),
    (44).to_bytes(8, "little") + b'{"a.lora_down.weight": {"shape": [true, {}]}}',
)


@pytest.mark.parametrize("data", LIES)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_headers_that_lie(data: bytes, suffix: str, tmp_path: Path) -> None:
    """Wrong lengths, deep nesting and wrong types raise nothing."""
    (tmp_path / f"a{suffix}").write_bytes(data)
    found = read_model_header(tmp_path / f"a{suffix}")
    assert found is None or found.kind in ("unknown", "lora")


def test_too_many_tensors(tmp_path: Path) -> None:
    """A header that names more tensors than any model is not looked through."""
    path = write(tmp_path / "a.safetensors", {f"t{number}": [1] for number in range(MOST_TENSORS + 1)})
    assert read_model_header(path) is None


def test_what_is_no_file(tmp_path: Path) -> None:
    """Nothing, a name that can't be one, and another suffix are no models."""
    assert read_model_header(tmp_path / "gone.safetensors") is None
    assert read_model_header(Path("a\0.ckpt")) is None
    (tmp_path / "a.txt").write_text("x")
    assert read_model_header(tmp_path / "a.txt") is None


OPCODES = st.sampled_from(
    [b"(", b".", b"0", b"1", b"2", b"N", b"K\x01", b"}", b"]", b")", b"t", b"\x85", b"\x86", b"\x87", b"s", b"u", b"R",
     b"b", b"Q", b"q\x00", b"h\x00", b"\x94", b"\x93", b"ctorch._utils\n_rebuild_tensor_v2\n", b"X\x01\x00\x00\x00a",
     b"e", b"a", b"d", b"l", b"o", b"P0\n", b"g0\n", b"p0\n", b"ccollections\nOrderedDict\n", b"\x8f", b"\x90", b"\x91"]
)  # fmt: skip


@given(data=st.one_of(st.binary(), st.lists(OPCODES, max_size=30).map(b"".join)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(data: bytes, tmp_path: Path) -> None:
    """Whatever the bytes are, and whatever a pickle does to its stack, nothing is raised."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x/data.pkl", data)
    for suffix, content in ((".safetensors", data), (".ckpt", data), (".bin", archive.getvalue())):
        path = tmp_path / f"any{suffix}"
        path.write_bytes(content)
        read_model_header(path)
    for cut in (20, len(archive.getvalue()) // 2):
        path.write_bytes(archive.getvalue()[:cut] + data)
        read_model_header(path)


@given(
    value=st.dictionaries(
        st.sampled_from(
            [*SDXL, "a.lora_down.weight", "lora_unet_attn2_to_k.lokr_w2", "emb_params", "__metadata__", "<a>"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["shape", "dtype", "ss_clip_skip", "ss_network_alpha"]), inner, max_size=3
                )
            ),
            max_leaves=6,
        ),
        max_size=6,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_header(value: dict[str, Any], tmp_path: Path) -> None:
    """Whatever a header says of its tensors, nothing is raised."""
    data = json.dumps(value).encode()
    path = tmp_path / "header.safetensors"
    path.write_bytes(len(data).to_bytes(8, "little") + data)
    read_model_header(path)
