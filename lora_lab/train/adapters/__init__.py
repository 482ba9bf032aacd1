"""The kinds of adapters, one file each behind one interface: `AdapterWeights` in `base`."""

from lora_lab.train.adapters.base import AdapterOptions, AdapterWeights, LayerSize
from lora_lab.train.adapters.kinds import KINDS, adapter_for, kind_of_file

__all__ = ["KINDS", "AdapterOptions", "AdapterWeights", "LayerSize", "adapter_for", "kind_of_file"]
