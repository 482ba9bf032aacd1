"""A new MLflow database in a file, which is there whole or not at all."""

from lora_lab.tracking.target import Target, database_of
from lora_lab.whole_files import whole_file


def make_whole(target: Target) -> None:
    """Make the database of a target, unless there is one or it is somebody else's; for who is `alone` with it.

    MLflow leads a new database through dozens of migrations, each of which SQLite keeps at once. Cut off halfway they
    cannot be taken up again, and no later run could open it: so it gets its name when they are done.
    """
    database = database_of(target)
    if database is None or (database.exists() and database.stat().st_size):
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    root = target.artifact_root or database.parent
    with whole_file(database) as new:
        store = SqlAlchemyStore(f"sqlite:///{new.as_posix()}", root.as_uri())
        store.engine.dispose()  # closes the file
