"""The migrations give exactly the schema that the code works with, and they ship."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from hatchling.builders.wheel import WheelBuilder
from sqlalchemy import Connection, make_url, text

from killdeer.v1.probe_pb2 import Reading
from killdeer_coordinator.core.books import FleetLimits
from killdeer_coordinator.store import Store, migrate, rows
from killdeer_coordinator.store.database import Database
from killdeer_coordinator.store.postgres import open_postgres
from killdeer_coordinator.store.schema import metadata
from killdeer_coordinator.store.sqlite import open_sqlite
from tests.support.rows import SetClock, run_row

ROOT = Path(__file__).parents[2]

# Name and words of all that a schema consists of.
KEPT = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%%'",
    "postgresql": """
        SELECT table_name, concat_ws(' ', column_name, data_type, character_maximum_length, collation_name,
            column_default, is_nullable) FROM information_schema.columns WHERE table_schema = current_schema()
        UNION ALL SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = current_schema()
        UNION ALL SELECT conrelid::regclass::text, concat_ws(' ', conname, pg_get_constraintdef(oid))
            FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
    """,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database that nobody has migrated."""
    if request.param == "sqlite":
        opened = open_sqlite(make_url("sqlite://"))
    else:
        name = request.getfixturevalue("database")
        opened = open_postgres(make_url(request.getfixturevalue("postgres").url(name)))
    yield opened
    opened.close()


def migrated(database: Database) -> Connection:
    connection = database.deciding.connect()
    connection.begin()
    database.prepare(connection)
    migrate.upgrade(connection)
    return connection


def tables(connection: Connection) -> dict[str, list[str]]:
    """Every table and index as the database keeps it, its clauses sorted: their order says nothing."""
    kept: dict[str, list[str]] = {}
    for name, words in connection.exec_driver_sql(KEPT[connection.dialect.name]):
        kept.setdefault(name, []).extend(_clauses(words))
    return {name: sorted(clauses) for name, clauses in kept.items() if "alembic" not in name}


def _clauses(words: str) -> list[str]:
    """SQLite keeps a column that was added later in the line of the one before it: `, name TYPE`."""
    return re.split(r",\s*\n|\n|, (?=\w+ [A-Z])", words.replace("\t", "").strip())


def test_the_migrated_schema_is_the_one_of_the_code(empty: Database) -> None:
    with migrated(empty) as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        one = tables(connection)
        connection.rollback()
    with empty.deciding.connect() as connection, connection.begin() as transaction:
        metadata.create_all(connection)
        other = tables(connection)
        transaction.rollback()
    assert differences == []
    assert one == other, "checks and defaults too, which Alembic does not compare"
    assert set(metadata.tables) <= set(one)


def test_a_migration_that_fails_leaves_nothing(
    empty: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [head] = ScriptDirectory(str(migrate.SCRIPTS)).get_heads()
    (tmp_path / "versions").mkdir()
    for script in migrate.SCRIPTS.rglob("*.py"):
        (tmp_path / script.relative_to(migrate.SCRIPTS)).write_text(script.read_text())
    (tmp_path / "versions" / "r9999_breaks.py").write_text(
        "from alembic import op\n"
        "revision = '9999'\n"
        f"down_revision = '{head}'\n"
        "def upgrade():\n"
        "    op.execute('DROP TABLE audit')\n"
        "    raise ValueError('it breaks')\n"
    )
    monkeypatch.setattr(migrate, "SCRIPTS", tmp_path)
    with pytest.raises(ValueError, match="it breaks"), empty.deciding.begin() as connection:
        migrate.upgrade(connection)
    with empty.deciding.begin() as connection:
        assert tables(connection) == {}


def test_a_store_of_the_first_revision_keeps_its_runs(empty: Database, tmp_path: Path) -> None:
    with empty.deciding.begin() as connection, pytest.MonkeyPatch.context() as first:
        (tmp_path / "versions").mkdir()
        for script in [*migrate.SCRIPTS.glob("*.py"), *migrate.SCRIPTS.glob("versions/r0001*.py")]:
            (tmp_path / script.relative_to(migrate.SCRIPTS)).write_text(script.read_text())
        first.setattr(migrate, "SCRIPTS", tmp_path)
        empty.prepare(connection)
        migrate.upgrade(connection)
        values = rows.run_values(run_row("r1"))
        del values["findings"]
        columns = ", ".join(f'"{name}"' for name in values)
        connection.execute(
            text(f"INSERT INTO runs ({columns}) VALUES ({', '.join(f':{name}' for name in values)})"), values
        )
    store = Store(empty, limits=FleetLimits(limits={}), clock=SetClock())
    with empty.deciding.begin() as connection:
        empty.prepare(connection)
        migrate.upgrade(connection)
    assert store.read().runs == {"r1": run_row("r1")}
    store.append_record("r1", [Reading(probe="p95", value=1.0)], [])
    assert len(store.report("r1").readings) == 1


def test_the_migrations_are_one_line_from_the_first_to_the_last() -> None:
    scripts = ScriptDirectory(str(migrate.SCRIPTS))
    assert len(scripts.get_heads()) == 1
    files = {Path(script.path).name for script in scripts.walk_revisions()}
    assert files == {path.name for path in (migrate.SCRIPTS / "versions").glob("*.py")}


def test_the_wheel_contains_the_migrations(tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    base = migrate.SCRIPTS.parents[2]
    assert {str(script.relative_to(base)) for script in migrate.SCRIPTS.rglob("*.py")} <= shipped
