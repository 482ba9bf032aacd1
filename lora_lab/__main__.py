"""`python -m lora_lab` is `lora-lab`."""

from lora_lab.cli import main

main()
