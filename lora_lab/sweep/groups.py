"""How a sweep's runs are dealt out in packs."""

from collections.abc import Iterator, Sequence

from lora_lab.config.packs import may_share_a_pack
from lora_lab.sweep.roles import Job


def groups(jobs: Sequence[Job], size: int) -> Iterator[tuple[Job, ...]]:
    """Yield the jobs in packs of at most `size`, each pack as early as its first job."""
    packs: list[list[Job]] = []
    unfilled: list[list[Job]] = []
    for job in jobs:
        fitting = (pack for pack in unfilled if may_share_a_pack(pack[0].config, job.config))
        pack = next(fitting, None)
        if pack is None:
            pack = []
            packs.append(pack)
            unfilled.append(pack)
        pack.append(job)
        if len(pack) >= size:
            unfilled = [other for other in unfilled if other is not pack]
    yield from (tuple(pack) for pack in packs)
