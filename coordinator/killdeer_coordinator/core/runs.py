"""All runs of this coordinator: their drivers, the agents' words on their strikes, and who watches them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from killdeer.v1.agent_pb2 import Ack, ConnectRequest, ConnectResponse, Revert, StrikeUpdate, UnitStarted
from killdeer.v1.operator_pb2 import RunState, RunVerdict, RunView, WatchRunResponse
from killdeer.v1.process_pb2 import HaltRecord, KernelEvent
from killdeer_coordinator.core import letters, strikes
from killdeer_coordinator.core.books import Books, RunRow, StrikeRow
from killdeer_coordinator.core.drive import Drive
from killdeer_coordinator.core.errands import Errands
from killdeer_coordinator.core.flight import revertible
from killdeer_coordinator.core.intake import Intake
from killdeer_coordinator.core.limits import held
from killdeer_coordinator.core.recording import Recording
from killdeer_coordinator.core.records import aborted_by
from killdeer_coordinator.core.roster import Link, Roster
from killdeer_coordinator.core.run import Ground, Run
from killdeer_coordinator.core.scans import Scans
from killdeer_coordinator.core.targets import Same, same
from killdeer_coordinator.core.views import run_view
from killdeer_coordinator.core.words import Decided, Refuse, Reply, Tell, Unrecorded

# Who watches is told the run whole, which takes the longer the more strikes it has: 200 of them each 100 ms, and of
# 10,000 not more often than each five seconds.
PUSH_NS_PER_STRIKE = 500_000

# Ended runs that can still be watched here; older ones are read from the store.
REMEMBERED = 20


@dataclass(slots=True)
class _Watcher:
    run: Run
    lines: int = 0  # of the log, told so far
    version: int = -1
    due_ns: int = 0  # mono: nothing is told before, but the end


@dataclass(slots=True)
class Runs:
    roster: Roster
    errands: Errands
    scans: Scans
    _runs: dict[str, Run] = field(default_factory=dict)  # oldest first
    _drives: dict[str, Drive] = field(default_factory=dict)
    _recordings: dict[str, Recording] = field(default_factory=dict)
    _watchers: dict[int, _Watcher] = field(default_factory=dict)
    _orphans: dict[str, str] = field(default_factory=dict)  # command -> host: to be reverted when it is in reach

    def begin(self, row: RunRow, intake: Intake) -> Run:
        ground = Ground(self.roster, self.errands, self.scans, self.busy)
        run = Run(row, intake, ground)
        self._runs[row.run_id] = run
        drive = self._drives[row.run_id] = Drive(run, ground)
        self._recordings[row.run_id] = Recording(run, drive.conduct.steady, self.errands)
        run.say(f"run {row.run_id} of {row.experiment}, seed {row.seed}, started by {row.started_by}")
        if self.roster.halts.active:  # engaged while the start was being stored
            self._halt(run, self.roster.halts.active[0])
        self._advance(run)
        return run

    def named(self, name: str) -> Run | None:
        """By id, unique prefix, or `latest`."""
        if name == "latest":
            return next(reversed(self._runs.values()), None)
        if name in self._runs:
            return self._runs[name]
        found = [run for run_id, run in self._runs.items() if name and run_id.startswith(name)]
        return found[0] if len(found) == 1 else None

    def started_by_key(self, key: str) -> Run | None:
        return next((run for run in self._runs.values() if key and run.row.key == key), None)

    @property
    def active(self) -> int:
        return sum(1 for run in self._runs.values() if not run.ended)

    def busy(self) -> list[Same]:
        """The processes in an open strike, of any run, as far as known here; the grant looks again."""
        flying = [
            same(flight.view.victim)
            for run in self._runs.values()
            for flight in run.flights.values()
            if flight.in_flight
        ]
        books = self.roster.books
        rows = [books.strikes.get(permit.command_id) for permit in held(books)] if books else []
        return flying + [same(row.view.victim) for row in rows if row is not None]

    def open_hosts(self) -> list[str]:
        """Hosts with an open strike: a halt goes to them first."""
        return [identity[0] for identity in self.busy()]

    def updated(self, link: Link, update: StrikeUpdate) -> None:
        """An agent's word on a strike: committed, then acknowledged, whatever became of its run (R16)."""
        self.errands.insist(strikes.told(link.host, update), lambda decided: self._told(link, update, decided))

    def heard_of(self, host: str, update: StrikeUpdate) -> None:
        """The same, of a host on another coordinator, which has acknowledged it: the books know it already."""
        self.errands.insist(strikes.told(host, update), lambda decided: self._learnt(update, decided))

    def welcomed(
        self, link: Link, open_strikes: Sequence[StrikeRow], elsewhere: Collection[str] = frozenset()
    ) -> None:
        """A host is back. Strikes that nobody waits for any more, or that were never sent, are reverted; those of
        runs that go on elsewhere are their drivers' to revert."""
        for row in open_strikes:
            if row.run_id in elsewhere:
                continue
            run = self._runs.get(row.run_id)
            flight = run.flights.get(row.view.command_id) if run else None
            if run is not None and flight is not None and run.running and flight.told:
                continue  # Welcome has asked about it, and its agent goes on with it
            if flight is not None:
                flight.answered = False
            if revertible(row.view):
                frame = ConnectResponse(revert=Revert(command_id=row.view.command_id))
                self.errands.ask(Tell(link.number, frame))

    def moved(self, link: Link) -> None:
        """A host that another coordinator serves now: the same, for the runs driven here."""
        for run in self._runs.values():
            for flight in run.flights.values():
                waited_for = run.running and flight.told
                owed = flight.doubted or (flight.permit_id and revertible(flight.view))
                if flight.host == link.host and owed and not waited_for:
                    run.revert(flight)

    def orphaned(self, open_strikes: Sequence[StrikeRow]) -> None:
        """Of runs whose driver is gone: they are reverted as soon as their hosts are in reach."""
        self._orphans |= {row.view.command_id: row.view.victim.host for row in open_strikes if revertible(row.view)}
        self._revert_orphans()

    def compared(self, books: Books, begun_ns: int) -> None:
        """What another coordinator has made of the runs driven here: aborted them, or ended them (rule R24)."""
        for run in list(self._runs.values()):
            known = books.runs.get(run.row.run_id)
            if run.ended or run.ending or begun_ns <= run.begun_ns:
                continue
            if known is None or known.fence != run.row.fence:
                run.end_early(
                    RunVerdict.RUN_VERDICT_ABORTED, "another coordinator has ended it, as this one was away"
                )
            elif known.state == RunState.RUN_STATE_ABORTING and run.running:
                run.end_early(RunVerdict.RUN_VERDICT_ABORTED, known.why)
            self._advance(run)

    def saw(self, host: str, events: Collection[KernelEvent]) -> None:
        """The evidence of a host."""
        for run_id, drive in self._drives.items():
            if not self._runs[run_id].ended:
                drive.conduct.steady.saw(host, events)

    def unit_started(self, answer: UnitStarted) -> None:
        for drive in self._drives.values():
            drive.conduct.unit_started(answer)

    def halted(self, record: HaltRecord) -> None:
        for run in list(self._runs.values()):
            self._halt(run, record)

    def abort(self, run: Run, who: str, reason: str) -> None:
        run.end_early(RunVerdict.RUN_VERDICT_ABORTED, aborted_by(who, reason), who)
        self._advance(run)

    def watch(self, ask: int, run: Run) -> None:
        self._watchers[ask] = _Watcher(run)
        self._push(ask, self._watchers[ask])

    def gone(self, ask: int) -> None:
        self._watchers.pop(ask, None)

    def nudge(self) -> None:
        for run in self._runs.values():
            run.nudge()
            self._advance(run)

    def stop(self) -> None:
        """This coordinator stops: the streams end. What becomes of the runs is decided when it starts again."""
        for ask in self._watchers:
            message = "this coordinator stops; when it starts again, its runs are ended and reverted"
            self.errands.ask(Refuse(ask=ask, code="UNAVAILABLE", message=message))
        self._watchers.clear()
        for recording in self._recordings.values():
            recording.keep(at_once=True)

    def tick(self) -> None:
        for run in list(self._runs.values()):
            self._advance(run)
            self._recordings[run.row.run_id].keep()
        self._revert_orphans()
        for ask, watcher in list(self._watchers.items()):
            self._push(ask, watcher)
        watched = {id(watcher.run) for watcher in self._watchers.values()}
        old = [run_id for run_id, run in self._runs.items() if run.ended and id(run) not in watched]
        for run_id in old[:-REMEMBERED]:
            del self._runs[run_id], self._drives[run_id], self._recordings[run_id]

    def view(self, run: Run) -> RunView:
        view = run_view(run.row, run.views, wave=run.wave, waves_done=run.waves_done)
        if not run.ended:
            self._drives[run.row.run_id].fill(view)
            view.permits_held = sum(flight.in_flight for flight in run.flights.values())
        return view

    def _advance(self, run: Run) -> None:
        self._drives[run.row.run_id].advance()

    def unrecorded(self, unrecorded: Unrecorded) -> None:
        if (recording := self._recordings.get(unrecorded.kept.run_id)) is not None:
            recording.failed(unrecorded)

    def drives(self, run_id: str) -> bool:
        """Is its driver here?"""
        return run_id in self._runs and not self._runs[run_id].ended

    def _halt(self, run: Run, record: HaltRecord) -> None:
        reason = f" ({record.reason})" if record.reason else ""
        run.end_early(RunVerdict.RUN_VERDICT_HALTED, f"the fleet was halted by {record.by}{reason}", record.by)

    def _told(self, link: Link, update: StrikeUpdate, decided: Decided) -> None:
        if link.number in self.roster.links:
            self.errands.ask(Tell(link.number, ConnectResponse(ack=Ack(number=update.number))))
        told = decided.answer
        if isinstance(told, strikes.Told) and told.driver not in ("", self.roster.coordinator):
            frame = ConnectRequest(strike_update=update)
            self.errands.post(letters.from_host(self.roster.coordinator, told.driver, link, frame))
        self._learnt(update, decided)

    def _learnt(self, update: StrikeUpdate, decided: Decided) -> None:
        told = decided.answer
        if not isinstance(told, strikes.Told):
            return
        run = self._runs.get(told.run_id)
        if run is not None:
            run.told(told, effect_open=update.effect_open, stopped=update.stopped)
            self._advance(run)
        if told.released:
            self.nudge()

    def _revert_orphans(self) -> None:
        for command_id, host in list(self._orphans.items()):
            if (link := self.roster.way_to(host)) is not None:
                self.errands.tell(link, ConnectResponse(revert=Revert(command_id=command_id)))
                del self._orphans[command_id]

    def _push(self, ask: int, watcher: _Watcher) -> None:
        run, now_ns = watcher.run, self.errands.now.mono_ns
        if watcher.version == run.version or (now_ns < watcher.due_ns and not run.ended):
            return
        watcher.due_ns = now_ns + len(run.flights) * PUSH_NS_PER_STRIKE
        lines = [line.line for line in run.log[watcher.lines :]]
        watcher.version, watcher.lines = run.version, len(run.log)
        self.errands.ask(Reply(ask, WatchRunResponse(run=self.view(run), log=lines), run.ended))
        if run.ended:
            del self._watchers[ask]
