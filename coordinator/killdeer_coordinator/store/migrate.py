"""Bringing a store to the schema of this version, in one transaction."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from killdeer_coordinator.store.errors import NewerStore, StoreFailure

SCRIPTS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: Connection) -> None:
    """Runs within the caller's transaction: all of it or nothing. Raises NewerStore."""
    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    present = set(MigrationContext.configure(connection).get_current_heads())
    if present - known:
        raise NewerStore(
            f"cannot open the store: it is at revision {', '.join(sorted(present - known))}, which this version "
            "of Killdeer does not know; install the version that wrote it, or a later one"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def check(connection: Connection) -> None:
    """Raises StoreFailure where the store is not at this version's revision; changes nothing."""
    wanted = set(ScriptDirectory.from_config(_config()).get_heads())
    present = set(MigrationContext.configure(connection).get_current_heads())
    if present != wanted:
        raise StoreFailure(
            f"cannot use the store: it is at revision {', '.join(sorted(present)) or 'none'}, this version of "
            f"Killdeer wants {', '.join(sorted(wanted))}; start the coordinator of this version once"
        )
