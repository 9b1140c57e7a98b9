"""The books: fleet, hosts, runs, permits, strikes, halts, limits, audit, evidence, deaths; letters.

The tables are written out, not taken from schema.py: a revision stays what it was. A test compares both.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ID = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "fleet",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("decisions", sa.BigInteger, nullable=False),
        sa.Column("last_decision_ms", sa.BigInteger, nullable=False),
        sa.Column("audit_length", sa.BigInteger, nullable=False),
        sa.Column("audit_head", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleet")),
        sa.CheckConstraint("id = 1", name=op.f("ck_fleet_one_row")),
        sa.CheckConstraint("audit_length >= 0", name=op.f("ck_fleet_length")),
    )
    op.execute("INSERT INTO fleet VALUES (1, 0, 0, 0, '')")
    op.create_table(
        "hosts",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("heard", sa.Boolean, nullable=False),
        sa.Column("quarantined", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("longest_lease_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("kernel", sa.Text, nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
        sa.Column("coordinator", sa.String(255), nullable=False),
        sa.Column("hello", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_hosts")),
        sa.CheckConstraint("longest_lease_ms >= 0", name=op.f("ck_hosts_lease")),
    )
    op.create_table(
        "runs",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("experiment", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("hypothesis", sa.Text, nullable=False),
        sa.Column("started_by", sa.Text, nullable=False),
        sa.Column("seed", sa.Text, nullable=False),
        sa.Column("plan_hash", sa.Text, nullable=False),
        sa.Column("limits", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("verdict", sa.Integer, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("waves_total", sa.Integer, nullable=False),
        sa.Column("driver", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_runs")),
        sa.CheckConstraint("run_id <> ''", name=op.f("ck_runs_named")),
        sa.CheckConstraint("fence >= 1", name=op.f("ck_runs_fence")),
        sa.UniqueConstraint("run_id", name=op.f("uq_runs_run_id")),
        sa.UniqueConstraint("key", name=op.f("uq_runs_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_runs_state"), "runs", ["state"])
    op.create_table(
        "permits",
        sa.Column("permit_id", sa.String(64), nullable=False),
        sa.Column("command_id", sa.String(64), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("granted_ms", sa.BigInteger, nullable=False),
        sa.Column("not_after_ms", sa.BigInteger, nullable=False),
        sa.Column("struck_ms", sa.BigInteger, nullable=False),
        sa.Column("never_sent", sa.Boolean, nullable=False),
        sa.Column("released_ms", sa.BigInteger, nullable=False),
        sa.Column("released_why", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("permit_id", name=op.f("pk_permits")),
        sa.CheckConstraint("permit_id <> '' AND command_id <> ''", name=op.f("ck_permits_named")),
        sa.CheckConstraint("granted_ms >= 0", name=op.f("ck_permits_granted")),
        sa.CheckConstraint("released_ms = 0 OR released_ms >= granted_ms", name=op.f("ck_permits_released")),
        sa.CheckConstraint("(released_ms = 0) = (released_why = '')", name=op.f("ck_permits_released_why")),
        sa.UniqueConstraint("command_id", name=op.f("uq_permits_command_id")),
        _run_of("permits"),
    )
    op.create_index(op.f("ix_permits_released_ms"), "permits", ["released_ms"])
    op.create_table(
        "strikes",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("command_id", sa.String(64), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("permit_id", sa.String(64)),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("view", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_strikes")),
        sa.CheckConstraint("command_id <> ''", name=op.f("ck_strikes_named")),
        sa.UniqueConstraint("command_id", name=op.f("uq_strikes_command_id")),
        _run_of("strikes"),
        sa.ForeignKeyConstraint(
            ["permit_id"],
            ["permits.permit_id"],
            name=op.f("fk_strikes_permit_id"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_strikes_run_id"), "strikes", ["run_id"])
    op.create_index(op.f("ix_strikes_permit_id"), "strikes", ["permit_id"])
    op.create_table(
        "halts",
        sa.Column("halt_id", sa.Text, nullable=False),
        sa.Column("record", sa.LargeBinary),
        sa.Column("released", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("halt_id", name=op.f("pk_halts")),
        sa.CheckConstraint("halt_id <> ''", name=op.f("ck_halts_named")),
    )
    op.create_table(
        "limits",
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("most", sa.BigInteger, nullable=False),
        sa.Column("set_by", sa.Text, nullable=False),
        sa.Column("set_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_limits")),
        sa.CheckConstraint("most >= 0", name=op.f("ck_limits_most")),
    )
    op.create_table(
        "coordinators",
        sa.Column("coordinator", sa.String(255), nullable=False),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("coordinator", name=op.f("pk_coordinators")),
    )
    op.create_table(
        "letters",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("sender", sa.String(255), nullable=False),
        sa.Column("recipient", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("told", sa.LargeBinary, nullable=False),
        sa.Column("heard", sa.LargeBinary, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_letters")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_letters_recipient"), "letters", ["recipient"])
    op.create_table(
        "audit",
        sa.Column("number", NUMBER, autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_audit_number")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_hash")),
    )
    op.create_table(
        "evidence",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("run_id", ID),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_evidence")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_evidence_received_ms"), "evidence", ["received_ms"])
    op.create_index(op.f("ix_evidence_host"), "evidence", ["host", "number"])
    op.create_index(op.f("ix_evidence_run_id"), "evidence", ["run_id", "number"])
    op.create_table(
        "deaths",
        sa.Column("number", NUMBER, autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("cause", sa.Integer, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("host_pid", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("container", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_deaths")),
        sa.ForeignKeyConstraint(
            ["number"],
            ["evidence.number"],
            name=op.f("fk_deaths_number"),
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
    )
    op.create_index(op.f("ix_deaths_host"), "deaths", ["host", "number"])
    op.create_index(op.f("ix_deaths_service"), "deaths", ["host", "service", "at_ms"])


def _run_of(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["run_id"], ["runs.run_id"], name=op.f(f"fk_{table}_run_id"), deferrable=True, initially="DEFERRED"
    )
