"""Stable Diffusion 1.x and its fine-tunes: CLIP ViT-L of 12 layers, text states of width 768."""

from lora_lab.train.families.stable_diffusion import StableDiffusion


class SD1(StableDiffusion):
    """The family of Stable Diffusion 1.x; captions are padded with the end token."""

    name = "sd1"
    pad_token = "<|endoftext|>"

    def base_model_version(self, v_prediction: bool) -> str:
        """Return the `ss_base_model_version` of a LoRA trained on it."""
        return "sd_v1_v" if v_prediction else "sd_v1"

    def architecture(self, v_prediction: bool) -> str:
        """Return the `modelspec.architecture`, which knows no v-prediction for SD 1."""
        return "stable-diffusion-v1/lora"
