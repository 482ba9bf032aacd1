"""What a rule is: a pure function from a config (and what is on disk) to hits, with its page as its docstring."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from lora_lab.config import FieldProblem, TrainConfig
from lora_lab.document import Document, Span
from lora_lab.failure import Failure
from lora_lab.lint.disk import Disk
from lora_lab.lint.finding import Fix, Severity

if TYPE_CHECKING:
    from lora_lab.config.data_sets import DataSet
    from lora_lab.lint.machine import Machine
    from lora_lab.lint.suppression import Idle
    from lora_lab.lint.theirs import Theirs

Sees = Literal["config", "disk", "machine", "raw", "outcome", "theirs"]
"""`config`: only valid values. `disk`: also the file system, so the rule is silent where that is not to be looked at.
`machine`: also this machine, so the rule is silent where it is not to be looked at, or trains nothing.
`raw`: the values as written, even invalid ones; its hits take the place of the findings about the same value's form.
`outcome`: what all the others found, and what the file asks not to be told of it.
`theirs`: the file's settings by sd-scripts' names, as another trainer than ours gets them."""

Target = Literal["lora_lab", "sd-scripts", "easy"]
"""Which trainer a file is judged for: ours, sd-scripts as of 2026, or LoRA Easy Training Scripts."""

TARGETS: tuple[Target, ...] = ("lora_lab", "sd-scripts", "easy")

OURS: tuple[Target, ...] = ("lora_lab",)
SD_SCRIPTS: tuple[Target, ...] = ("sd-scripts",)
EASY: tuple[Target, ...] = ("easy",)
THEIRS: tuple[Target, ...] = ("sd-scripts", "easy")


class Part(NamedTuple):
    """The part of a data set file that a view is about; `settings` are the keys that the file sets there."""

    name: str
    sets: tuple["DataSet", ...]
    settings: frozenset[str]
    whole: "View"


class View(NamedTuple):
    """What a rule may look at."""

    config: TrainConfig
    values: Mapping[str, object]
    given: frozenset[str]  # keys that are set, that is, not null
    problems: tuple[FieldProblem, ...]
    document: Document
    disk_view: Disk | None
    load_failure: Failure | None
    idle: tuple["Idle", ...] = ()  # suppressions without effect, for rules that see the outcome

    target: Target = "lora_lab"
    theirs_view: "Theirs | None" = None
    machine_view: "Machine | None" = None
    part: Part | None = None

    @property
    def machine(self) -> "Machine":
        """Return this machine; only rules that say `sees="machine"` may ask."""
        if self.machine_view is None:
            raise LookupError("a rule that looks at the machine says so: sees='machine'")
        return self.machine_view

    @property
    def theirs(self) -> "Theirs":
        """Return the settings by sd-scripts' names; only rules that say `sees="theirs"` may ask."""
        if self.theirs_view is None:
            raise LookupError("a rule about another trainer says so: sees='theirs'")
        return self.theirs_view

    @property
    def disk(self) -> Disk:
        """Return the file system; only rules that say `sees="disk"` may ask."""
        if self.disk_view is None:
            raise LookupError("a rule that looks at the disk says so: sees='disk'")
        return self.disk_view


class Hit(NamedTuple):
    """What a rule found; `keys` come in the order of their blame: the first one is pointed at."""

    message: str
    keys: tuple[str, ...]
    remedy: str
    fix: Fix | None = None
    severity: Severity | None = None  # where it differs from the rule's own
    at: Literal["value", "key"] = "value"
    span: Span | None = None  # where the place is not that of a key


Check = Callable[[View], Iterator[Hit]]


class Rule(NamedTuple):
    """A check with its code, its name (it reads well after "ignore"), its severity and where it comes from."""

    code: str
    name: str
    severity: Severity
    reads: tuple[str, ...]
    source: str
    sees: Sees
    check: Check
    page: str
    idle: tuple[str, ...] = ()  # keys whose value changes nothing where this fires, so that a safe fix may change it
    targets: tuple[Target, ...] = TARGETS  # the trainers that it is true of

    @property
    def sections(self) -> dict[str, str]:
        """Return the page's parts by heading; "" is the first line, the summary."""
        return page_sections(self.page)


HEADINGS = ("What it does", "Why is this bad", "Bad", "Good", "Fix")


def page_sections(page: str) -> dict[str, str]:
    """Split a page at its headings (a heading stands alone on its line)."""
    parts: dict[str, list[str]] = {"": []}
    current = ""
    for line in inspect.cleandoc(page).splitlines():
        if line.rstrip(":") in HEADINGS:
            current = line.rstrip(":")
            parts[current] = []
        else:
            parts[current].append(line)
    return {heading: "\n".join(lines).strip() for heading, lines in parts.items()}


def rule(  # noqa: PLR0913 -- each keyword is one fact about a rule
    code: str,
    name: str,
    severity: Severity,
    *,
    reads: tuple[str, ...],
    source: str,
    sees: Sees = "config",
    idle: tuple[str, ...] = (),
    targets: tuple[Target, ...] | None = None,
) -> Callable[[Check], Rule]:
    """Make a rule of a check. It is known to the engine only once it stands in the register.

    It is true of every trainer unless `targets` says of which; LL9xx is about what is not built here.
    """

    true_of = targets or (OURS if code.startswith("LL9") else TARGETS)

    def made(check: Check) -> Rule:
        return Rule(code, name, severity, reads, source, sees, check, check.__doc__ or "", idle, true_of)

    return made
