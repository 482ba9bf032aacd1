"""Where MLflow keeps things: a database in the project folder, or the server that somebody named."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_lab.failure import Failure
from lora_lab.locks import held

DEFAULT_FOLDER = Path("lora-lab-runs")
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")


@dataclass(frozen=True)
class Target:
    """A tracker. `artifact_root` is where new experiments keep their files; None leaves that to the server."""

    uri: str
    artifact_root: Path | None = None

    @property
    def key(self) -> str:
        """A name for the tracker that is safe to write down: addresses may carry a password."""
        return hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    @property
    def is_server(self) -> bool:
        """Whether somebody else's server answers there, so that none needs to be started to look at it."""
        return self.uri.startswith(("http://", "https://", "databricks"))

    @property
    def shown(self) -> str:
        """The address without user, password and query, where databases take passwords too."""
        return without_secrets(self.uri).partition("?")[0]


def without_secrets(text: str) -> str:
    """Return a text without what gives access: users and passwords in addresses, and what MLFLOW_TRACKING_* hold."""
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        secret = os.environ.get(name)
        text = text.replace(secret, "***") if secret else text
    text = re.sub(r"(?i)\b(password|passwd|pwd|token|api_key|access_token|sslpassword)=[^&\s'\")]+", r"\1=***", text)
    return re.sub(r"//[^/\s]*@", "//", text)


def choose_target(tracking_uri: str | None, folder: Path = DEFAULT_FOLDER) -> Target:
    """Return the tracker to use: the address given, else MLFLOW_TRACKING_URI, else a database in `folder`.

    Raises `Failure` for an address that MLflow cannot keep a sweep at (a plain folder: its file store is in maintenance
    mode since MLflow 3).
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if not uri:
        return _sqlite(folder.absolute() / "mlflow.db")
    scheme = uri.split(":", 1)[0].split("+", 1)[0] if ":" in uri else ""
    if scheme not in SCHEMES:
        raise Failure(
            f"{without_secrets(uri)!r} is no address of an MLflow server or database",
            "write http://HOST:PORT, or sqlite:///path/to/mlflow.db",
        )
    if scheme == "sqlite":
        return _sqlite(Path(uri.split("///", 1)[-1]).expanduser().absolute())
    return Target(uri)


def _sqlite(database: Path) -> Target:
    """Return the target of a database file, its artifacts beside it; both absolute: MLflow stores them as written."""
    return Target(f"sqlite:///{database.as_posix()}", database.parent / "mlartifacts")


def database_of(target: Target) -> Path | None:
    """Return the database file of an SQLite target."""
    return Path(target.uri.removeprefix("sqlite:///")) if target.uri.startswith("sqlite:///") else None


@contextlib.contextmanager
def alone(target: Target) -> Iterator[None]:
    """Hold the right to create or migrate the target's database.

    Two processes that create it at once leave it half-migrated, and then no later run can open it.
    """
    database = database_of(target)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with held(database.with_name(f"{database.name}.lock")):
        yield
