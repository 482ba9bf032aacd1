"""What a field of the config says about itself, and the mixin that the topics derive from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

PathKind = Literal["file", "files", "folder", "model", "output_folder"]
"""`files` is a file or a list of them, `model` a file or a folder; an `output_folder` is made when it is not there; the
others must exist."""

MAX_SEED: Final = 2**32 - 1
MANY: Final = 1_000_000_000
"""The limit of counts that have no other: what is above it is a slip of the hand."""


class Required:
    """The type of `REQUIRED`, the default of a key that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Required()


class Pitfall(NamedTuple):
    """One way to get hurt, and where that is known from."""

    text: str
    source: str


@dataclass(frozen=True)
class About:
    """The knowledge about one parameter that its type does not carry.

    `row` is its place in every list (1 to 65: the classic keys in their customary order). `names` maps another tool to
    the name that it uses. `type_text` replaces the text derived from the type. `null_means` is the value that an
    explicit null stands for where that is not the default. `unless` is the key beside which this one is not required.
    """

    row: int
    meaning: str
    typical: str
    pitfalls: tuple[Pitfall, ...] = ()
    misread: str | None = None
    unit: str = ""
    path_kind: PathKind | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    since: str = "2023-02"
    type_text: str | None = None
    null_means: object = None
    unless: str = ""


class Topic(BaseModel):
    """A group of parameters: a mixin of `TrainConfig`, never built on its own."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,  # the mixins' validators are never needed, and the whole one only when a file is read
        protected_namespaces=(),
    )
    title: ClassVar[str] = ""


def same(name: str) -> dict[str, str]:
    """Return the `names` of a parameter that sd-scripts and kohya's GUI call alike."""
    return {"sd-scripts": name, "kohya_gui": name}
