"""What a run tells, as event files for TensorBoard, in a folder of its own below `log_dir`.

Written with the `tensorboard` package alone, which needs neither TensorFlow nor torch.
"""

import struct
import time
from pathlib import Path
from typing import Any

from lora_lab.tracking.events import Event, Metrics, RunEnded, RunStarted, SamplePicture

MISSING = "log_dir is set, but no event files are written: pip install 'lora-lab[tensorboard]'"


def folder_of(event: RunStarted, time_ms: int) -> Path | None:
    """Return where the event files of a run go, `{log_dir}/{name}-{time}`; None if the run wants none.

    `time_ms` is when the run was first started (milliseconds since 1970): one that goes on after a crash goes on there.
    """
    log_dir = event.params.get("log_dir", "null")
    if log_dir == "null":
        return None
    name = "".join(letter if letter.isalnum() or letter in "-_.=," else "_" for letter in event.name)
    moment = time.strftime("%Y%m%d-%H%M%S", time.localtime(time_ms / 1000))
    return Path(log_dir) / f"{name[:100].strip('.') or 'run'}-{moment}"


class TensorBoardWriter:
    """A `Record` that writes numbers and pictures to a new event file in `folder`."""

    def __init__(self, folder: Path) -> None:
        """Make the folder and the file. Raises OSError."""
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event: Any = event_pb2.Event
        self._summary: Any = summary_pb2.Summary
        folder.mkdir(parents=True, exist_ok=True)
        self._file = EventFileWriter(str(folder), flush_secs=10)

    def __call__(self, event: Event) -> None:
        """Write the event; of other kinds than numbers and pictures there is nothing to write."""
        if isinstance(event, Metrics):
            values = [self._summary.Value(tag=key, simple_value=value) for key, value in event.values.items()]
            self._add(values, event.step, event.time_ms / 1000)
        elif isinstance(event, SamplePicture):
            content = event.path.read_bytes()
            width, height = struct.unpack(">II", content[16:24])  # of a PNG, which the trainer writes
            image = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
            self._add([self._summary.Value(tag=event.key, image=image)], event.step, time.time())
        elif isinstance(event, RunEnded):
            self._file.flush()

    def _add(self, values: list[Any], step: int, seconds: float) -> None:
        self._file.add_event(self._event(wall_time=seconds, step=step, summary=self._summary(value=values)))

    def close(self) -> None:
        """Write what is left."""
        self._file.close()
