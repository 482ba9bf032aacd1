"""A new MLflow database in a file, which is there whole or not at all."""

import os
import shutil

from lora_lab.tracking.target import Target, database_of
from lora_lab.whole_files import sync_folder


def make_whole(target: Target) -> None:
    """Make the database of a target, unless there is one or it is somebody else's; for who is `alone` with it.

    MLflow leads a new database through dozens of migrations, each of which SQLite keeps at once. Cut off halfway they
    cannot be taken up again, and no later run could open it: so it gets its name when they are done.
    """
    database = database_of(target)
    if database is None or (database.exists() and database.stat().st_size):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = database.with_name(f".{database.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    new = partial / database.name
    root = target.artifact_root or database.parent
    try:
        store = SqlAlchemyStore(f"sqlite:///{new.as_posix()}", root.as_uri())
        store.engine.dispose()  # closes the file
        with new.open("rb+") as stream:
            os.fsync(stream.fileno())
        new.replace(database)
        sync_folder(database.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
