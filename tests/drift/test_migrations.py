"""The migrations give exactly the schema that the code works with, and they ship."""

import re
import zipfile
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from hatchling.builders.wheel import WheelBuilder
from sqlalchemy import Connection, create_engine

from killdeer_coordinator.store import migrate
from killdeer_coordinator.store.engine import deciding, open_engine, sqlite_url
from killdeer_coordinator.store.schema import metadata

ROOT = Path(__file__).parents[2]


def tables(connection: Connection) -> dict[str, list[str]]:
    """Every table and index as SQLite keeps it, its clauses sorted: their order says nothing."""
    found = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        " AND name <> 'alembic_version'"
    )
    return {name: sorted(re.split(r",\s*\n|\n", sql.replace("\t", "").strip())) for name, sql in found}


def test_the_migrated_schema_is_the_one_of_the_code() -> None:
    migrated, declared = open_engine(sqlite_url("sqlite://")), create_engine("sqlite://")
    with deciding(migrated) as connection:
        migrate.upgrade(connection)
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        one = tables(connection)
    with declared.begin() as connection:
        metadata.create_all(connection)
        other = tables(connection)
    migrated.dispose()
    declared.dispose()
    assert differences == []
    assert one == other, "checks and defaults too, which Alembic does not compare"
    assert set(metadata.tables) <= set(one)


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "versions").mkdir()
    for script in migrate.SCRIPTS.rglob("*.py"):
        (tmp_path / script.relative_to(migrate.SCRIPTS)).write_text(script.read_text())
    (tmp_path / "versions" / "r9999_breaks.py").write_text(
        "from alembic import op\n"
        "revision = '9999'\n"
        "down_revision = '0001'\n"
        "def upgrade():\n"
        "    op.execute('DROP TABLE audit')\n"
        "    raise ValueError('it breaks')\n"
    )
    monkeypatch.setattr(migrate, "SCRIPTS", tmp_path)
    engine = open_engine(sqlite_url("sqlite://"))
    with pytest.raises(ValueError, match="it breaks"), deciding(engine) as connection:
        migrate.upgrade(connection)
    with engine.connect() as connection:
        assert tables(connection) == {}
    engine.dispose()


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
