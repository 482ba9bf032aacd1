"""A file's settings by sd-scripts' names, as another trainer than ours gets them."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from lora_lab.document import Document, Span
from lora_lab.document.command_text import is_placeholder
from lora_lab.document.dialects.names import KOHYA_GUI, SD_SCRIPTS, theirs
from lora_lab.document.dialects.sd_scripts import ASSUMED, arguments
from lora_lab.lint.finding import Severity
from lora_lab.lint.rule import Hit

NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORDS: Final[Mapping[str, bool]] = {"true": True, "false": False}
_GUI_NAMES: Final[Mapping[str, str]] = {
    "sdxl_no_half_vae": "no_half_vae",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
}
_EASY_NAMES: Final[Mapping[str, str]] = {"max_resolution": "resolution", "warmup_ratio": "lr_warmup_steps"}
_OFF_IN_GUI: Final = frozenset(
    [
        *("max_train_steps", "max_train_epochs", "noise_offset", "min_snr_gamma", "scale_weight_norms", "seed"),
        *("network_dropout", "rank_dropout", "module_dropout", "lr_warmup_steps", "lr_scheduler_num_cycles"),
        *("save_every_n_steps", "save_last_n_steps", "save_last_n_steps_state", "save_last_n_epochs", "clip_skip"),
        *("sample_every_n_steps", "sample_every_n_epochs", "multires_noise_iterations", "multires_noise_discount"),
        *("adaptive_noise_scale", "ip_noise_gamma", "vae_batch_size", "keep_tokens", "conv_dim", "min_timestep"),
        *("caption_dropout_every_n_epochs", "network_weights", "learning_rate", "unet_lr", "text_encoder_lr"),
    ]
)
"""What kohya's GUI does not pass on when it is 0."""

EASY_DEFAULTS: Final[Mapping[str, object]] = {"clip_skip": 2, "caption_extension": ".txt", "max_clip_token_length": 150}
"""What LoRA Easy Training Scripts takes for what its JSON leaves out, where lora_lab takes something else."""


class Setting(NamedTuple):
    """One setting: the file's own key, what it says, and where."""

    key: str
    value: object
    key_span: Span
    value_span: Span
    place: tuple[str | int, ...] = ()


class Theirs(NamedTuple):
    """The settings of a file by sd-scripts' names; of several the last one counts.

    `family` is "sd", "sdxl", "other" or "" where nothing tells; `part` says which part of a run the file is.
    """

    dialect: str
    easy: bool
    program: str
    family: str
    part: str
    settings: Mapping[str, Setting]
    every: tuple[Setting, ...]
    text: str
    defaults: Mapping[str, object]

    @property
    def gui(self) -> bool:
        """Say whether kohya's GUI stands between the file and sd-scripts, and mends what it can."""
        return self.dialect == "kohya-gui"

    @property
    def whole(self) -> bool:
        """Say whether the file should be all of a run, so that what it lacks is not set."""
        told = self.has("pretrained_model_name_or_path") and self.has("train_data_dir")
        return told and self.part == "" and self.dialect in WHOLE and not self.has("config_file")

    def has(self, name: str) -> bool:
        """Say whether the file has the setting, be it unset."""
        return name in self.settings

    def get(self, name: str) -> object:
        """Return a setting's value as argparse or the GUI reads it; None where it is not set."""
        setting = self.settings.get(name)
        if setting is None:
            return None
        value = plain(setting.value)
        return None if value == "" or (self.gui and name in _OFF_IN_GUI and value == 0) else value

    def number(self, name: str) -> float | None:
        """Return a setting's number, None where it is none."""
        value = self.get(name)
        if isinstance(value, list) and len(value) == 1:
            value = plain(value[0])  # flags that take several, such as text_encoder_lr
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def on(self, name: str) -> bool:
        """Say whether a switch is on, or a setting is given that is not 0, empty, or decided elsewhere."""
        value = self.get(name)
        return bool(value) and value != "none" and not self.varies(name)

    def varies(self, name: str) -> bool:
        """Say whether only the run decides the value, because it is a variable."""
        setting = self.settings.get(name)
        return setting is not None and is_placeholder(setting.value)

    def word(self, name: str, default: str = "") -> str:
        """Return a setting's text in small letters."""
        value = self.get(name)
        return value.strip().lower() if isinstance(value, str) else default

    def arguments(self, name: str) -> dict[str, str]:
        """Return `network_args`, `optimizer_args` or `lr_scheduler_args` as key and text."""
        found: dict[str, str] = {}
        inner = {one.key: one.value for one in self.every if name in map(str, one.place[:-1])}
        value = inner or (self.settings[name].value if name in self.settings else None)
        if isinstance(value, dict):
            return {str(key): str(text) for key, text in value.items() if text not in (None, "", False)}
        texts = arguments(value)
        for text in texts if isinstance(texts, list) else []:
            key, equals, rest = str(text).partition("=")
            if equals:
                found[key.strip()] = rest.strip().strip("\"'")
        return found

    def key(self, name: str) -> str:
        """Return the file's own key for a setting, or sd-scripts' where it has none."""
        return self.settings[name].key if name in self.settings else name

    def hit(self, message: str, names: tuple[str, ...], remedy: str, severity: Severity | None = None) -> Hit:
        """Return the hit that points at the first of some settings that the file has."""
        return Hit(message, self.names(*names), remedy, None, severity, span=self.span(*names) or self.start)

    @property
    def start(self) -> Span:
        """Return the place of the file's first key, for what the file lacks."""
        return min((one.key_span for one in self.every), default=Span(0, 0, 1, 1))

    def names(self, *names: str) -> tuple[str, ...]:
        """Return the file's own keys for settings that it has."""
        return tuple(self.settings[name].key for name in names if name in self.settings)

    def span(self, *names: str) -> Span | None:
        """Return the place of the first of these settings that the file has."""
        return next((self.settings[name].value_span for name in names if name in self.settings), None)


WHOLE: Final = frozenset(["own", "sd-scripts", "sd-scripts-command", "easy-toml", "kohya-gui"])


def plain(value: object) -> object:
    """Return a number or switch that is written as a text as what it is."""
    if not isinstance(value, str) or len(value) > 40:
        return value
    text = value.strip()
    if NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return _WORDS.get(text.lower(), text)


def settings_of(document: Document, easy: bool) -> Theirs:
    """Return a document's settings by sd-scripts' names."""
    origin = document.origin
    every = tuple(_every(document))
    settings: dict[str, Setting] = {}
    for name, one in ((_name(one, origin.dialect if origin else "own"), one) for one in every):
        if name not in settings or one.value not in (None, ""):
            settings[name] = one
    own = origin is None or not origin.foreign
    return Theirs(
        "own" if origin is None else origin.dialect,
        easy,
        origin.program if origin else "",
        origin.family if origin else "",
        origin.partial if origin else "",
        settings,
        every,
        document.text,
        _defaults(document, easy) if own else {},
    )


def _defaults(document: Document, easy: bool) -> dict[str, object]:
    """Return what the trainer takes for what a file in our keys leaves out."""
    found = dict(EASY_DEFAULTS if easy else ASSUMED)
    if "num_epochs" in document.entries:
        found.pop("max_steps", None)
    return {key: value for key, value in found.items() if key not in document.entries}


def _every(document: Document) -> Iterator[Setting]:
    if document.origin is not None and document.origin.items:
        for item in document.origin.items:
            yield Setting(item.key, item.value, item.key_span, item.value_span, item.place)
    else:
        for entry in document.entries.values():
            yield Setting(entry.key, entry.value, entry.key_span, entry.value_span, (entry.key,))


_THEIRS: Final = theirs("sd-scripts")


def _name(one: Setting, dialect: str) -> str:
    """Return sd-scripts' name of a setting."""
    key = one.key.removeprefix("--")
    if dialect == "own":
        return _THEIRS.get(key, key)
    if dialect == "kohya-gui":
        ours = KOHYA_GUI.get(key)
        if key in ("epoch", "lr_warmup"):
            return key
        return _GUI_NAMES.get(key) or (_THEIRS.get(ours, key) if ours else key)
    if dialect == "easy-toml" and key in _EASY_NAMES:
        return _EASY_NAMES[key]
    if key == "caption_extention":
        return "caption_extension"
    return key if key in SD_SCRIPTS or dialect != "easy-toml" else _THEIRS.get(key, key)
