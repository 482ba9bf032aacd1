"""A pack: K adapters on one frozen base, each with its own part of every batch.

The batch that reaches an adapted layer is the K active adapters' batches, concatenated. The layer adds each adapter's
own ΔW x to its own part; adapters of one kind are computed at once, as batched matrix products. Nothing an adapter
computes depends on who else is in the pack.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lora_lab.train.adapters import AdapterOptions, AdapterWeights, LayerSize, adapter_for
from lora_lab.train.adapters.base import Site, over_outputs, row_lengths
from lora_lab.train.draws import python_draws
from lora_lab.train.stacks import Stack, by_name, fill, hand_out
from lora_lab.train.transfer import to_device

__all__ = ["AdapterOptions", "AdapterWeights", "LayerSize", "Pack", "PackState", "PackedLayer"]


@dataclass
class PackState:
    """Which adapters the next forward pass serves, in order of their parts of the batch, and at which micro-step.

    `share` is which of how many pictures are this process's, where several processes share each batch; `stacked`,
    whether the adapters' matrices are where `Pack.stacked` puts them.
    """

    active: list[int] = field(default_factory=list)
    step: int = 0
    training: bool = True
    share: tuple[slice, int] | None = None
    stacked: bool = False


class _Group(NamedTuple):
    """Members that are computed at once, and their places in the batch."""

    places: Tensor  # int64, on the layer's device: made anew for each batch, it would hold up a GPU
    members: tuple[AdapterWeights, ...]
    stacks: dict[str, Stack]

    def on_top(self) -> dict[str, Tensor]:
        """The members' matrices, by name."""
        return {name: stack.whole for name, stack in self.stacks.items()}


class PackedLayer(nn.Module):
    """A frozen Linear or Conv2d with the adapters of a pack beside it."""

    def __init__(self, base: nn.Linear | nn.Conv2d, name: str, state: PackState) -> None:
        super().__init__()
        self.base = base
        self.name = name
        self.state = state
        self.adapters = nn.ModuleDict()
        self.groups: dict[tuple[int, ...], list[_Group]] = {}

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        """Answer for the layer that this one replaces: models read `weight.dtype`, `in_features` and the like."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, x: Tensor) -> Tensor:
        """Add each active adapter's update to its part of the batch; the batch divides evenly by their number."""
        y = self.base(x)
        active = self.state.active
        together = self._together(tuple(active))
        if not together:
            return y
        if len(active) == 1:
            return self._alone(x, y, together[0])
        x, own = (whole.unflatten(0, (len(active), -1)) for whole in (x, y))
        if len(together) == 1 and len(together[0].members) == len(active):
            return self._added(x, own, together[0]).flatten(0, 1)
        found = own
        for group in together:
            places = group.places
            update = self._updates(x.index_select(0, places), own.index_select(0, places), group)
            found = found.index_add(0, places, update)
        return found.flatten(0, 1)

    def _alone(self, x: Tensor, y: Tensor, group: _Group) -> Tensor:
        """A pack of one: the whole batch is one adapter's, and nothing has to be taken apart."""
        if self._sums(group):
            return group.members[0].added(self._site(group), x, y)
        return y + self._updates(x[None], y[None], group)[0]

    def _added(self, x: Tensor, y: Tensor, group: _Group) -> Tensor:
        """Add the updates of all active adapters, which can be computed at once."""
        if self._sums(group):
            return group.members[0].all_added(self._site(group), x, y, group.members)
        return y + self._updates(x, y, group)

    def _sums(self, group: _Group) -> bool:
        """Whether what each adapter computes is added as it is: no DoRA, and nobody may be left out."""
        return group.members[0].magnitude is None and not self._leaves_out(group)

    def _leaves_out(self, group: _Group) -> bool:
        return self.state.training and any(member.options.module_dropout for member in group.members)

    def _weights(self, key: int) -> AdapterWeights:
        weights = self.adapters[str(key)]
        assert isinstance(weights, AdapterWeights)
        return weights

    def _together(self, active: tuple[int, ...]) -> list[_Group]:
        """The active adapters of this layer, those that can be computed at once side by side; found out once."""
        if active not in self.groups:
            present = {place: self._weights(key) for place, key in enumerate(active) if str(key) in self.adapters}
            groups: dict[Hashable, list[int]] = {}
            for place, weights in present.items():
                groups.setdefault(weights.batch_key(), []).append(place)
            device = self.base.weight.device
            self.groups[active] = [
                self._group(torch.tensor(places, device=device), [present[place] for place in places])
                for places in groups.values()
            ]
        return self.groups[active]

    def stacks(self, active: tuple[int, ...]) -> Iterator[Stack]:
        """What holds matrices of several of these adapters for a step."""
        for group in self._together(active):
            yield from group.stacks.values()

    def _group(self, places: Tensor, members: Sequence[AdapterWeights]) -> _Group:
        return _Group(places, tuple(members), by_name(members, members[0].RANK_AT) if len(members) > 1 else {})

    def _site(self, group: _Group) -> Site:
        state = self.state
        stacks = group.on_top() if state.stacked else {}
        return Site(self.base, self.name, state.step, state.training, state.share, stacks)

    def _updates(self, x: Tensor, y: Tensor, group: _Group) -> Tensor:
        """What a group's members add to their parts of the output, (K, n, …) like `y`.

        `x` and `y` are their parts of the layer's input and output.
        """
        members = group.members
        update = members[0].updates(self._site(group), x, members)
        if members[0].magnitude is not None:
            update = self._redirected(update, y, members)
        if self._leaves_out(group):
            there = to_device(torch.tensor([self._is_there(m) for m in members], dtype=update.dtype), update.device)
            update = update * there.view(-1, *(1 for _ in update.shape[1:]))
        return update.to(y.dtype)

    def _redirected(self, update: Tensor, y: Tensor, members: Sequence[AdapterWeights]) -> Tensor:
        """DoRA: the rows of W + ΔW get the learned length, m · (W + ΔW) / ‖W + ΔW‖; returns what that adds to `y`.

        The length that they have by themselves counts as a constant, as in the paper (4.3) and in peft.
        """
        with torch.no_grad(), torch.autocast(y.device.type, enabled=False):
            weight = self.base.weight.float()
            lengths = torch.stack([row_lengths(weight + m.delta()).flatten() for m in members])
        wanted = torch.stack([m.magnitude.flatten() for m in members if m.magnitude is not None])
        ratio = over_outputs(self.base, (wanted / lengths.clamp_min(SHORTEST))[:, None], y.ndim)
        bias = self.base.bias
        own = y if bias is None else y - over_outputs(self.base, bias[None, None], y.ndim)
        return (ratio - 1) * own + ratio * update

    def _is_there(self, weights: AdapterWeights) -> bool:
        """Whether module dropout leaves an adapter in at this layer and step."""
        options = weights.options
        draws = python_draws(options.seed, "module_dropout", self.state.step, self.name)
        return draws.random() >= options.module_dropout


SHORTEST = torch.finfo(torch.float32).eps
"""Of rows, so that one of zeros can be divided by its length."""


class Pack:
    """The adapters of one base: attached to its layers, addressed by number, taken off again.

    `layers` maps each layer's name in the LoRA file (`lora_unet_…`, `lora_te_…`) to its owner module and attribute,
    `other_names` what other programs call it to that name.
    """

    def __init__(
        self, layers: dict[str, tuple[nn.Module, str]], other_names: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.other_names = other_names
        self.state = PackState()
        self._places = layers
        self._layers: dict[str, PackedLayer] = {}
        for name, (owner, attribute) in layers.items():
            packed = PackedLayer(getattr(owner, attribute), name, self.state)
            setattr(owner, attribute, packed)
            self._layers[name] = packed

    def add(self, key: int, options: AdapterOptions) -> None:
        """Attach a new adapter to every layer that its options name."""
        for name, layer in self._layers.items():
            size = options.size_at(name, layer.base)
            if size is not None:
                layer.adapters[str(key)] = adapter_for(layer.base, name, options, size)
                layer.groups.clear()

    def weights(self, key: int) -> Iterator[tuple[str, AdapterWeights]]:
        """Each layer name with the adapter's weights there, text encoder first."""
        for name, layer in self._layers.items():
            if str(key) in layer.adapters:
                yield name, layer._weights(key)

    def remove(self, key: int) -> None:
        """Take an adapter off every layer."""
        for layer in self._layers.values():
            if str(key) in layer.adapters:
                del layer.adapters[str(key)]
                layer.groups.clear()

    def detach(self) -> None:
        """Give the base its own layers back."""
        for name, (owner, attribute) in self._places.items():
            setattr(owner, attribute, self._layers[name].base)

    @contextmanager
    def serving(self, *keys: int, step: int = 0, training: bool = False) -> Iterator[None]:
        """Within: forward passes serve these adapters; none at all is the bare base."""
        before = (self.state.active, self.state.step, self.state.training)
        self.state.active, self.state.step, self.state.training = list(keys), step, training
        try:
            yield
        finally:
            self.state.active, self.state.step, self.state.training = before

    @contextmanager
    def stacked(self, *keys: int) -> Iterator[None]:
        """Within: passes that serve these adapters find their matrices in one place; at the end they get gradients.

        Their weights must not change meanwhile.
        """
        stacks = [stack for layer in self._layers.values() for stack in layer.stacks(keys)] if len(keys) > 1 else []
        fill(stacks)
        self.state.stacked = True
        try:
            yield
            hand_out(stacks)
        finally:
            self.state.stacked = False
            for stack in stacks:
                stack.whole.grad = None
