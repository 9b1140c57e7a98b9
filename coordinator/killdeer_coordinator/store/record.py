"""The record of a run: what was measured and said of it is added as it goes, and read again as a report."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from killdeer.v1.operator_pb2 import GetReportResponse, LogLine
from killdeer.v1.probe_pb2 import Reading
from killdeer_coordinator.store import queries, rows, statements

# A report is one message: so many readings are 10 MB of it.
READINGS_MOST = 200_000
EARLIER_MOST = 10


def append(connection: Connection, run_id: str, readings: Sequence[Reading], lines: Sequence[LogLine]) -> None:
    if readings:
        connection.execute(statements.APPEND_READINGS, [rows.reading_values(run_id, one) for one in readings])
    if lines:
        connection.execute(statements.APPEND_LINES, [rows.line_values(run_id, one) for one in lines])


def report(connection: Connection, name: str) -> GetReportResponse:
    """All that is known of a run, as one moment saw it; its readings in time. Raises NoSuchRun, AmbiguousRun."""
    run = queries.run(connection, name)
    row = connection.execute(statements.RUN_OF_ID, {"run_id": run.run_id}).one()
    earlier = {"experiment": row.experiment, "number": row.number, "limit": EARLIER_MOST}
    readings, thinned = _readings(connection, run.run_id)
    log = [rows.line_of(line) for line in connection.execute(statements.LINES_OF_RUN, {"run_id": run.run_id})]
    if thinned:
        log.append(LogLine(at_unix_ms=readings[-1].at_unix_ms, line=thinned))
    return GetReportResponse(
        run=run,
        source=row.source,
        file=row.file,
        readings=readings,
        log=log,
        notes=[rows.note_of(note) for note in connection.execute(statements.NOTES_OF_RUN, {"run_id": run.run_id})],
        earlier=[
            rows.run_view(rows.run_of(one), []) for one in connection.execute(statements.EARLIER_RUNS, earlier)
        ],
    )


def shares(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """How many readings of each probe are told where there are `most` in all: as many of each, and all of those
    that have fewer."""
    told, left = {}, most
    for place, probe in enumerate(sorted(counts, key=lambda probe: (counts[probe], probe))):
        told[probe] = min(counts[probe], left // (len(counts) - place))
        left -= told[probe]
    return told


def _readings(connection: Connection, run_id: str) -> tuple[list[Reading], str]:
    """Those that are told, and a line that says so where they are not all of them."""
    counts = {row.probe: row.taken for row in connection.execute(statements.COUNT_READINGS, {"run_id": run_id})}
    total = sum(counts.values())
    if total <= READINGS_MOST:
        found = connection.execute(statements.READINGS_OF_RUN, {"run_id": run_id})
        return [rows.reading_of(row) for row in found], ""
    told: list[rows.AnyRow] = []
    for probe, kept in shares(counts, READINGS_MOST).items():
        asked = {"run_id": run_id, "probe": probe, "kept": kept, "taken": counts[probe]}
        told += connection.execute(statements.THINNED_READINGS, asked).all()
    told.sort(key=lambda row: (row.at_ms, row.number))
    thinned = f"this report has {len(told):,} of the run's {total:,} readings: those of a probe are thinned evenly"
    return [rows.reading_of(row) for row in told], thinned
