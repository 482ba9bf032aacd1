"""The dialects that training configs are written in: one file for each, and a document of our keys from any of them."""

from lora_lab.document.dialects.load import decode_config, read_config, translate
from lora_lab.document.dialects.recognise import MODULES, may_be_config

DIALECTS = tuple(MODULES)
"""The names of all dialects, for `--dialect`."""

__all__ = ["DIALECTS", "decode_config", "may_be_config", "read_config", "translate"]
