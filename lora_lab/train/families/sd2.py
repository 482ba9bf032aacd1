"""Stable Diffusion 2.x: OpenCLIP ViT-H without its last layer (23 are left), text states of width 1024.

768-v predicts velocity, base (512) the noise; both have the same layers under the same names.
"""

from lora_lab.train.families.stable_diffusion import StableDiffusion


class SD2(StableDiffusion):
    """The family of Stable Diffusion 2.x; captions are padded with "!", which is token 0."""

    name = "sd2"
    pad_token = "!"

    def base_model_version(self, v_prediction: bool) -> str:
        """Return the `ss_base_model_version` of a LoRA trained on it."""
        return "sd_v2_v" if v_prediction else "sd_v2"

    def architecture(self, v_prediction: bool) -> str:
        """Return the `modelspec.architecture`: sd-scripts tells the two models by what they predict."""
        return "stable-diffusion-v2-768-v/lora" if v_prediction else "stable-diffusion-v2-512/lora"
