"""The tables. Columns ending in `_ms` are Unix milliseconds of the store's clock.

What decisions or queries look for is a column; the rest of a message stays whole, as protobuf bytes. Booleans
and enum values are the wire's. The CHECK and UNIQUE constraints are the second belt of rule R17: decisions are
expected to hold by themselves what these would refuse. Foreign keys are checked at the commit, so that the
changes of one decision may come in any order.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# Ids are compared byte by byte, whatever language the database speaks: a prefix is a range of them.
Id = String(64).with_variant(String(64, collation="C"), "postgresql")

# SQLite numbers rows by itself only in a column that says INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")


def _of(column: str, *, goes_with_it: bool = False) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE" if goes_with_it else None, deferrable=True, initially="DEFERRED")


# One row, for ever. Every decision begins by counting itself in it, which is the lock.
fleet = Table(
    "fleet",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("decisions", BigInteger, nullable=False),
    Column("last_decision_ms", BigInteger, nullable=False),  # the latest time seen; it never runs back
    Column("audit_length", BigInteger, nullable=False),
    Column("audit_head", String(64), nullable=False),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("audit_length >= 0", name="length"),
)

hosts = Table(
    "hosts",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("labels", Text, nullable=False),  # JSON object
    Column("session", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("heard", Boolean, nullable=False),
    Column("quarantined", Text, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("longest_lease_ms", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("kernel", Text, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("coordinator", String(255), nullable=False),
    Column("hello", LargeBinary, nullable=False),  # agent_pb2.Hello
    CheckConstraint("longest_lease_ms >= 0", name="lease"),
)

runs = Table(
    "runs",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),  # in the order they were started
    Column("run_id", Id, nullable=False, unique=True),
    Column("key", Text, unique=True),  # NULL: the client gave none
    Column("source", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("experiment", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("hypothesis", Text, nullable=False),
    Column("started_by", Text, nullable=False),
    Column("seed", Text, nullable=False),  # decimal: 64 bits without a sign fit no SQL integer
    Column("plan_hash", Text, nullable=False),
    Column("limits", Text, nullable=False),  # JSON object
    Column("fence", BigInteger, nullable=False),
    Column("state", Integer, nullable=False),
    Column("verdict", Integer, nullable=False),
    Column("why", Text, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("waves_total", Integer, nullable=False),
    Column("driver", String(255), nullable=False),
    Column("findings", LargeBinary),  # probe_pb2.Findings; NULL: none
    CheckConstraint("run_id <> ''", name="named"),
    CheckConstraint("fence >= 1", name="fence"),
    Index(None, "state"),
    Index("ix_runs_experiment", "experiment", "number"),
    sqlite_autoincrement=True,
)

permits = Table(
    "permits",
    metadata,
    Column("permit_id", String(64), primary_key=True),
    Column("command_id", String(64), nullable=False, unique=True),
    Column("run_id", Id, _of("runs.run_id"), nullable=False),
    Column("host", String(255), nullable=False),
    Column("service", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("granted_ms", BigInteger, nullable=False),
    Column("not_after_ms", BigInteger, nullable=False),
    Column("struck_ms", BigInteger, nullable=False),
    Column("never_sent", Boolean, nullable=False),
    Column("released_ms", BigInteger, nullable=False),
    Column("released_why", Text, nullable=False),
    CheckConstraint("permit_id <> '' AND command_id <> ''", name="named"),
    CheckConstraint("granted_ms >= 0", name="granted"),
    CheckConstraint("released_ms = 0 OR released_ms >= granted_ms", name="released"),
    CheckConstraint("(released_ms = 0) = (released_why = '')", name="released_why"),
    Index(None, "released_ms"),
)

strikes = Table(
    "strikes",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),  # in the order they were drawn
    Column("command_id", String(64), nullable=False, unique=True),
    Column("run_id", Id, _of("runs.run_id"), nullable=False),
    Column("permit_id", String(64), _of("permits.permit_id")),  # NULL: rehearsed
    Column("host", String(255), nullable=False),
    Column("state", Integer, nullable=False),
    Column("view", LargeBinary, nullable=False),  # operator_pb2.StrikeView
    CheckConstraint("command_id <> ''", name="named"),
    Index(None, "run_id"),
    Index(None, "permit_id"),
    sqlite_autoincrement=True,
)

halts = Table(
    "halts",
    metadata,
    Column("halt_id", Text, primary_key=True),
    Column("record", LargeBinary),  # process_pb2.HaltRecord; NULL: only its release is known
    Column("released", Boolean, nullable=False),
    CheckConstraint("halt_id <> ''", name="named"),
)

# What operators have set; it goes before coordinator.toml.
limits = Table(
    "limits",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("most", BigInteger, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_ms", BigInteger, nullable=False),
    CheckConstraint("most >= 0", name="most"),
)

coordinators = Table(
    "coordinators",
    metadata,
    Column("coordinator", String(255), primary_key=True),
    Column("instance", String(64), nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
)

# Who may join: each once.
tokens = Table(
    "tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("host", String(255), nullable=False),  # empty: any that is new
    Column("created_by", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger, nullable=False),
    Column("used_for", String(255), nullable=False),
    CheckConstraint("(used_ms = 0) = (used_for = '')", name="used"),
)

# Those that running coordinators have issued. Of a host that is removed, they go.
certificates = Table(
    "certificates",
    metadata,
    Column("serial", String(64), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("issued_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
    Column("authority", String(64), nullable=False),
    CheckConstraint("serial <> '' AND host <> ''", name="named"),
    Index("ix_certificates_host", "host", "issued_ms"),
)

# A host that is here has no good certificate but those above.
removals = Table(
    "removals",
    metadata,
    Column("host", String(255), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
)

# Each is taken out once, by its recipient.
letters = Table(
    "letters",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("sender", String(255), nullable=False),
    Column("recipient", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("session", Text, nullable=False),
    Column("told", LargeBinary, nullable=False),  # agent_pb2.ConnectResponse
    Column("heard", LargeBinary, nullable=False),  # agent_pb2.ConnectRequest
    Column("until_ms", BigInteger, nullable=False),
    Index(None, "recipient"),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON object
    Column("hash", String(64), nullable=False, unique=True),
    CheckConstraint("number >= 1", name="number"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("received_ms", BigInteger, nullable=False),
    Column("host", String(255), nullable=False),
    Column("run_id", Id),  # NULL: no strike of ours
    Column("event", LargeBinary, nullable=False),  # process_pb2.KernelEvent
    Index(None, "received_ms"),
    Index("ix_evidence_host", "host", "number"),
    Index("ix_evidence_run_id", "run_id", "number"),
    sqlite_autoincrement=True,
)

# What is looked for in those rows of the evidence that are deaths. It goes when they go.
deaths = Table(
    "deaths",
    metadata,
    Column("number", Number, _of("evidence.number", goes_with_it=True), primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),  # of the death, as near as its batch tells
    Column("host", String(255), nullable=False),
    Column("cause", Integer, nullable=False),
    Column("pid", BigInteger, nullable=False),  # in the agent's pid namespace; 0: not in it
    Column("host_pid", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("container", Text, nullable=False),
    Column("service", Text, nullable=False),  # of what belongs to none, its name
    Index("ix_deaths_host", "host", "number"),
    Index("ix_deaths_service", "host", "service", "at_ms"),
)

# The record of a run: what was measured, and what was said of it as it went. No foreign keys: they come in
# thousands, and what is checked for each of them would take a lock on its run.
readings = Table(
    "readings",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("run_id", Id, nullable=False),
    Column("at_ms", BigInteger, nullable=False),  # by the clock of who measured
    Column("probe", Text, nullable=False),
    Column("value", Double),  # NULL: unknown, and `detail` says why
    Column("detail", Text, nullable=False),
    Index(None, "at_ms"),
    Index("ix_readings_run_id", "run_id", "probe", "at_ms"),
    sqlite_autoincrement=True,
)

lines = Table(
    "lines",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("run_id", Id, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
    Index(None, "at_ms"),
    Index("ix_lines_run_id", "run_id", "number"),
    sqlite_autoincrement=True,
)

# What people added to it. It stays as long as the run.
notes = Table(
    "notes",
    metadata,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("run_id", Id, _of("runs.run_id"), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("action", Text, nullable=False),  # who is to act on it; empty: nobody
    CheckConstraint("text <> ''", name="said"),
    Index("ix_notes_run_id", "run_id", "number"),
    sqlite_autoincrement=True,
)
