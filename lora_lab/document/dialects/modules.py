"""The register of dialects, apart from what recognises and converts them: most files are in our own keys."""

from typing import Final

MODULES: Final = {
    "own": "own",
    "easy": "easy_json",
    "easy-toml": "easy_toml",
    "kohya-gui": "kohya_gui_json",
    "sd-scripts": "sd_scripts_toml",
    "dataset": "dataset_toml",
    "mixed": "mixed_toml",
    "sd-scripts-command": "sd_scripts_command",
    "onetrainer": "onetrainer",
    "ai-toolkit": "ai_toolkit",
    "simpletuner": "simpletuner",
    "diffusers-command": "diffusers_command",
    "simpletuner-data": "other_tools",
    "civitai": "other_tools",
    "diffusion-pipe": "other_tools",
    "colab": "other_tools",
    "lora-scripts": "other_tools",
}
"""Each dialect and the module that converts it."""

DIALECTS: Final = tuple(MODULES)
"""The names of all dialects, for `--dialect`."""
