"""The register of adapter kinds."""

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from lora_lab.train.adapters.base import AdapterOptions, AdapterWeights, Kind, Layer, LayerSize
from lora_lab.train.adapters.loha import LohaWeights
from lora_lab.train.adapters.lokr import LokrWeights
from lora_lab.train.adapters.lora import LoraWeights

KINDS: Final[Mapping[Kind, type[LoraWeights] | type[LohaWeights] | type[LokrWeights]]] = {
    "lora": LoraWeights,
    "loha": LohaWeights,
    "lokr": LokrWeights,
}


def adapter_for(layer: Layer, name: str, options: AdapterOptions, size: LayerSize) -> AdapterWeights:
    """Return a new adapter of the kind that the options name; it changes nothing yet."""
    return KINDS[options.kind](layer, name, options, size)


def kind_of_file(state: Mapping[str, Tensor]) -> Kind | None:
    """Return the kind that a file's tensors are of, by their names; None where they are of none."""
    endings = {str(key).partition(".")[2] for key in state}
    return next((kind for kind, found in KINDS.items() if endings & set(found.FILE_NAMES.values())), None)
