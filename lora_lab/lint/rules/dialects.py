"""Files in other programs' keys."""

from collections.abc import Iterator

from lora_lab.document import Span
from lora_lab.lint.rule import OURS, Hit, View, rule

_SHOWN = 8


@rule("LL014", "other-dialect", "info", reads=(), source="https://github.com/bmaltais/kohya_ss", targets=OURS)
def other_dialect(view: View) -> Iterator[Hit]:
    """The file is in another program's keys.

    What it does
    Says as what a file was read, and which of its settings have no counterpart in lora_lab. Settings that are off, and
    those about the machine or the records of a run, are not counted.

    Why is this bad
    It is not: the file is judged all the same, by what its settings mean. But what has no counterpart is not looked at,
    and training from the file with lora_lab would leave it out.

    Bad
    ```json
    {"pretrained_model_name_or_path": "a/base", "train_data_dir": "a/pictures", "network_dim": 8, "network_alpha": 4}
    ```

    Good
    ```json
    {"base_model": "a/base", "img_folder": "a/pictures", "output_folder": "a/out", "net_dim": 8, "alpha": 4}
    ```
    """
    origin = view.document.origin
    if origin is None or not origin.foreign or not origin.readable:
        return
    alone = origin.partial == "dataset"  # what is lost of it where dataset_config names it, LL151 says
    lost = [] if alone else list(dict.fromkeys(one.key for one in origin.dropped if one.asks))
    message = f"read as {origin.title}"
    for note in origin.notes:
        message += f"; {note}"
    if lost:
        message += (
            f"; {len(lost)} setting{'s' * (len(lost) > 1)} without a counterpart here: {', '.join(lost[:_SHOWN])}"
        )
        message += ", …" if len(lost) > _SHOWN else ""
    first = min((entry.key_span for entry in view.document.entries.values()), default=Span(0, 0, 1, 1))
    remedy = "`lora-lab convert` writes it in lora_lab's keys and says what it leaves out"
    yield Hit(message, (), "name it as dataset_config in a config to train on it" if alone else remedy, span=first)
