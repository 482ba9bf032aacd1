"""`PARAMETERS`: everything that is known about each key, read off the fields of `TrainConfig`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lora_lab.config.about import MANY, REQUIRED, About, PathKind, Pitfall
from lora_lab.config.train_config import TOPICS, TrainConfig, about

_LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "pattern")
_TYPE_TEXTS: Final[Mapping[type, str]] = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_PATH_TEXTS: Final[Mapping[PathKind, str]] = {
    "file": "path of a file",
    "files": "path of a file, or a list of them",
    "folder": "path of a folder",
    "model": "path of a file or folder, or owner/name on a hub",
    "output_folder": "path of a folder",
}


@dataclass(frozen=True)
class Parameter:
    """One key of the config.

    `default` is `REQUIRED` where there is none. `minimum` and `maximum` are hard limits in `unit`; the exclusive flags
    say that the limit itself is outside. `nullable` says that the attribute can be None. `null_means` is the value
    that an explicit null stands for. `aliases` maps a dialect (`sd-scripts`, `kohya_gui`, …) to its name for the key.
    `unless` is the key beside which a required one may be left out.
    """

    name: str
    row: int
    topic: str
    type_text: str
    kind: type
    nullable: bool
    default: object
    null_means: object
    minimum: float | None
    maximum: float | None
    exclusive_minimum: bool
    exclusive_maximum: bool
    multiple_of: int | None
    pattern: str | None
    choices: tuple[str | int, ...]
    unit: str
    meaning: str
    typical: str
    pitfalls: tuple[Pitfall, ...]
    misread: str | None
    path_kind: PathKind | None
    aliases: Mapping[str, str]
    since: str
    unless: str

    @property
    def required(self) -> bool:
        """Whether a config without the key can't be used."""
        return self.default is REQUIRED

    @property
    def range_text(self) -> str:
        """The hard limits in words, "" where there are none."""
        words = f"a multiple of {self.multiple_of}" if self.multiple_of else ""
        limits = _limits_text(self)
        return f"{limits}, {words}" if limits and words else limits or words


def _limits_text(parameter: Parameter) -> str:
    low, high = parameter.minimum, parameter.maximum
    if low is None or high is None:
        one_sided = "above" if parameter.exclusive_minimum else "of at least"
        return "" if low is None else f"{one_sided} {plain(low)}"
    return f"from {plain(low)} to {'below ' if parameter.exclusive_maximum else ''}{plain(high)}"


def plain(limit: float) -> str:
    """Return a limit without exponent or needless decimals."""
    if limit == MANY:
        return "a billion"
    return str(int(limit)) if limit == int(limit) else f"{limit:g}"


def _layers(annotation: Any) -> Iterator[Any]:
    """Yield the annotation and everything inside it, the metadata of `Annotated` included."""
    yield annotation
    if isinstance(annotation, FieldInfo):
        yield from annotation.metadata
    elif get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _layers(part)


def _bare(annotation: Any) -> Any:
    """Return the type without None, `Annotated` and the inside of a list or dict."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    others = [part for part in get_args(annotation) if part is not NoneType]
    if NoneType in get_args(annotation):
        return _bare(others[0]) if len(others) == 1 else object
    origin = get_origin(annotation)
    return annotation if origin in (None, Literal) else origin if isinstance(origin, type) else object


def _type_text(known: About, bare: Any, choices: tuple[str | int, ...]) -> str:
    if known.type_text:
        return known.type_text
    if known.path_kind:
        return _PATH_TEXTS[known.path_kind]
    if choices:
        return "one of " + ", ".join(str(choice) for choice in choices)
    return _TYPE_TEXTS.get(bare, "list of texts")


def _parameter(name: str, field: FieldInfo, topic: str) -> Parameter:
    known = about(field.metadata)
    layers = [*field.metadata, *_layers(field.annotation)]
    limits = {limit: getattr(layer, limit, None) for limit in _LIMITS for layer in layers if hasattr(layer, limit)}
    bare = _bare(field.annotation)
    choices = get_args(bare) if get_origin(bare) is Literal else ()
    default = REQUIRED if field.is_required() or known.unless else field.default
    return Parameter(
        name=name,
        row=known.row,
        topic=topic,
        type_text=_type_text(known, bare, choices),
        kind=type(choices[0]) if choices else bare if isinstance(bare, type) else object,
        nullable=NoneType in get_args(field.annotation),
        default=default,
        null_means=known.null_means if known.null_means is not None else default,
        minimum=limits.get("ge", limits.get("gt")),
        maximum=limits.get("le", limits.get("lt")),
        exclusive_minimum="gt" in limits,
        exclusive_maximum="lt" in limits,
        multiple_of=limits.get("multiple_of"),
        pattern=limits.get("pattern"),
        choices=choices,
        unit=known.unit,
        meaning=known.meaning,
        typical=known.typical,
        pitfalls=known.pitfalls,
        misread=known.misread,
        path_kind=known.path_kind,
        aliases=MappingProxyType(dict(known.names)),
        since=known.since,
        unless=known.unless,
    )


def _all() -> Mapping[str, Parameter]:
    fields = TrainConfig.__pydantic_fields__
    found = [
        _parameter(name, fields[name], topic.title)
        for topic in TOPICS
        for name in topic.__pydantic_fields__
    ]  # fmt: skip
    return MappingProxyType({one.name: one for one in sorted(found, key=lambda one: one.row)})


PARAMETERS: Final = _all()
"""Every key in reference order: the 65 classic ones, then the later ones."""
