"""The record of a run: readings, lines and notes; what a run found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ID = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("findings", sa.LargeBinary))
    op.create_index(op.f("ix_runs_experiment"), "runs", ["experiment", "number"])
    op.create_table(
        "readings",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("probe", sa.Text, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_readings")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_readings_at_ms"), "readings", ["at_ms"])
    op.create_index(op.f("ix_readings_run_id"), "readings", ["run_id", "probe", "at_ms"])
    op.create_table(
        "lines",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_lines")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_lines_at_ms"), "lines", ["at_ms"])
    op.create_index(op.f("ix_lines_run_id"), "lines", ["run_id", "number"])
    op.create_table(
        "notes",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_notes")),
        sa.CheckConstraint("text <> ''", name=op.f("ck_notes_said")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_notes_run_id"), deferrable=True, initially="DEFERRED"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_notes_run_id"), "notes", ["run_id", "number"])
