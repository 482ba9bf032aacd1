"""lora_lab: lint, sweep, train and compare Stable Diffusion LoRA configs."""

__version__ = "0.1.0"
