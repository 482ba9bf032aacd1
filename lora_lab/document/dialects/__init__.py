"""The dialects that training configs are written in: one file for each, and a document of our keys from any of them."""

from lora_lab.document.dialects.load import decode_config, read_config, translate
from lora_lab.document.dialects.modules import DIALECTS

__all__ = ["DIALECTS", "decode_config", "read_config", "translate"]
