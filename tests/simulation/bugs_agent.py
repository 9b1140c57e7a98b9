"""Deliberate bugs of the agent's core, each a mistake that a good engineer could make. By rule."""

from tests.simulation.bugs_cut import Bug, Cut

_CORE = "killdeer_agent.core"

AGENT_BUGS = (
    # --- striking: R1 to R6 ------------------------------------------------------------------------------------
    Bug(
        name="signal-before-the-fsync",
        rule="R1",
        invariant="I2",
        what="last look and signal come before the intent is durable",
        cuts=(
            Cut(
                f"{_CORE}.blows:Blows._record",
                "    self._desk.write(record, lambda problem: self._recorded(strike, problem))",
                '    self._recorded(strike, "")\n    self._desk.write(record)',
            ),
        ),
    ),
    Bug(
        name="nothing-asked-after-the-fsync",
        rule="R1",
        invariant="I4",
        what="a halt or revert that came while the intent was written does not stop the blow",
        cuts=(
            Cut(
                f"{_CORE}.blows:Blows._recorded",
                "(refused := strike.cancelled or no_more(strike, self._strikes, self._desk))",
                "(refused := None)",
            ),
        ),
    ),
    Bug(
        name="start-time-not-compared",
        rule="R1",
        invariant="I1",
        what="a process that was given the victim's pid is taken for it",
        cuts=(
            Cut(
                f"{_CORE}.warrant:Warrant._refuses_process",
                "if facts.start_ticks != self.process.start_ticks:",
                "if facts.pid != self.process.pid:",
            ),
        ),
    ),
    Bug(
        name="selector-asked-at-the-scan-only",
        rule="R1",
        invariant="I1",
        what="a setuid or cgroup move between scan and signal is not noticed",
        cuts=(
            Cut(
                f"{_CORE}.warrant:Warrant._refuses_process",
                "if not self.selector.matches(facts, now, self.guard.hide):",
                "if not self.selector.fields:",
            ),
        ),
    ),
    Bug(
        name="exec-not-noticed",
        rule="R1",
        invariant="I1",
        what="neither program nor selector is looked at again, so what was exec'd is struck",
        cuts=(
            Cut(
                f"{_CORE}.warrant:Warrant._refuses_process",
                "if not self.first_sight and facts.program != self.process.program:",
                "if not facts.pid:",
            ),
            Cut(
                f"{_CORE}.warrant:Warrant._refuses_process",
                "if not self.selector.matches(facts, now, self.guard.hide):",
                "if not self.selector.fields:",
            ),
        ),
    ),
    Bug(
        name="host-rate-not-counted",
        rule="R1",
        invariant="I7",
        what="the guard's own rate counts the blows under way and none that fell",
        cuts=(
            Cut(
                f"{_CORE}.strikes:Strikes.over_rate",
                "len(self._sent_ns) + under_way >= rate",
                "under_way >= rate",
            ),
        ),
    ),
    Bug(
        name="lease-not-in-the-last-look",
        rule="R3",
        invariant="I5",
        what="the warrant does not ask whether the lease still holds",
        cuts=(Cut(f"{_CORE}.warrant:Warrant.refuses", "if not self.lease.holds(now):", "if not now.boot_ns:"),),
    ),
    Bug(
        name="guard-asked-at-the-scan-only",
        rule="R3",
        invariant="I7",
        what="the warrant does not ask the guard, which may have changed since the scan",
        cuts=(
            Cut(
                f"{_CORE}.warrant:Warrant._refuses_process",
                "return self.guard.refuses(facts, now, self.action)",
                "return None",
            ),
        ),
    ),
    Bug(
        name="blow-number-stands-still",
        rule="R4",
        invariant="I2",
        what="the blow after the grace carries the number of the first",
        cuts=(Cut(f"{_CORE}.blows:Blows.tick", "strike.blow += 1", "strike.blow = max(strike.blow, 1)"),),
    ),
    Bug(
        name="revert-spares-the-blow-to-come",
        rule="R4",
        invariant="I4",
        what="a Revert cancels strikes that have not begun, and leaves terminate's KILL to fall",
        cuts=(
            Cut(
                f"{_CORE}.reverts:Reverts.cancel",
                "    strike.cancelled = strike.cancelled or refusal",
                "    if not strike.struck:\n        strike.cancelled = strike.cancelled or refusal",
            ),
        ),
    ),
    Bug(
        name="restart-strikes-on",
        rule="R4",
        invariant="I2",
        what="an agent that was restarted sends the blows that were to come, once it has a lease again",
        cuts=(
            Cut(f"{_CORE}.restart:_from_past", "cancelled=_RESTARTED,", ""),
            Cut(
                f"{_CORE}.reverts:Reverts.cancel_all",
                "        self.cancel(strike, refusal)",
                "        if not strike.restored_ns:\n            self.cancel(strike, refusal)",
            ),
        ),
    ),
    Bug(
        name="stopped-is-struck",
        rule="R5",
        invariant="I1",
        what="a process that somebody else has stopped is no longer refused",
        cuts=(
            Cut(
                f"{_CORE}.warrant:unstruck",
                "return _UNSTRUCK.get(facts.state)",
                'return None if facts.state in "Tt" else _UNSTRUCK.get(facts.state)',
            ),
        ),
    ),
    Bug(
        name="zombie-is-struck",
        rule="R5",
        invariant="I1",
        what="a process whose leader has exited is no longer refused",
        cuts=(
            Cut(
                f"{_CORE}.warrant:unstruck",
                'if facts.state == "Z" and facts.threads > 1:',
                'if facts.state == "Z":\n        return None\n    if facts.threads < 0:',
            ),
        ),
    ),
    # --- clocks and leases: R7 to R9 ---------------------------------------------------------------------------
    Bug(
        name="lease-from-receipt",
        rule="R7",
        invariant="I5",
        what="the lease counts from when its renewal came in, not from when the heartbeat was sent",
        cuts=(
            Cut(
                f"{_CORE}.session:Session.renewed",
                "self.lease.renewed(stamp, renewal.lease_ms)",
                "self.lease.renewed(self._desk.now, renewal.lease_ms)",
            ),
        ),
    ),
    Bug(
        name="lease-from-the-latest-heartbeat",
        rule="R7",
        invariant="I5",
        what="a renewal counts from the last heartbeat sent, whichever it answers",
        cuts=(
            Cut(
                f"{_CORE}.session:Session.renewed",
                "stamp = self._stamps.pop(renewal.heartbeat_boot_ns, None)",
                "stamp = next(reversed(self._stamps.values()), None)",
            ),
        ),
    ),
    Bug(
        name="lease-end-takes-nothing-back",
        rule="R7",
        invariant="I6",
        what="when the lease ends nothing new is struck, and what is paused stays so until its own end",
        cuts=(Cut(f"{_CORE}.agent:Core._tick", "self._reverts.cancel_all(_LEASE_OVER)", "pass"),),
    ),
    Bug(
        name="freeze-not-noticed",
        rule="R8",
        invariant="I5",
        what="the real-time clock is not compared, so a host that stood still goes on where it was",
        cuts=(Cut(f"{_CORE}.lease:Lease.holds", " and not self._stood_still(now)", ""),),
    ),
    # --- halt, abort, revert: R10 to R15 -----------------------------------------------------------------------
    Bug(
        name="halt-acknowledged-before-it-is-durable",
        rule="R10",
        invariant="I4",
        what="the first acknowledgement does not wait for the disk",
        cuts=(
            Cut(
                f"{_CORE}.halting:Halting.progress",
                "if halt_id in self._desk.memory.halts.engaged and",
                "if halt_id in self._desk.halts.engaged and",
            ),
        ),
    ),
    Bug(
        name="halts-compared-by-number",
        rule="R10",
        invariant="I4",
        what="two sides know the same halts when they know as many",
        cuts=(
            Cut(
                "killdeer.halts:Halts.digest",
                "return hashlib.sha256(text.encode()).hexdigest()",
                "return hashlib.sha256(str(len(self.active)).encode()).hexdigest()",
            ),
        ),
    ),
    Bug(
        name="rearm-lifts-every-halt",
        rule="R10",
        invariant="I4",
        what="a rearm releases whatever is engaged on the host, not the ids it names",
        cuts=(
            Cut(
                f"{_CORE}.agent:Core._heard",
                "self._halting.release(list(frame.rearm.released))",
                "self._halting.release(list(self._desk.halts.engaged))",
            ),
        ),
    ),
    Bug(
        name="revert-before-strike-ignored",
        rule="R11",
        invariant="I4",
        what="a Revert of an id that was not seen yet is dropped, and the strike behind it acts",
        cuts=(
            Cut(
                f"{_CORE}.door:Door.taken_back",
                "self._use_up_unseen(command_id)",
                'self._desk.note("revert_of_unknown", command=command_id)',
            ),
        ),
    ),
    Bug(
        name="used-up-before-it-is-durable",
        rule="R11",
        invariant="I2",
        what="the word that an id is used up does not wait for the disk",
        cuts=(
            Cut(
                f"{_CORE}.strikes:Strikes.use_up",
                "self._desk.write(refused_record(strike.command, refusal, not_after), said)",
                'said("")\n    self._desk.write(refused_record(strike.command, refusal, not_after))',
            ),
        ),
    ),
    Bug(
        name="reverted-before-it-is",
        rule="R12",
        invariant="I8",
        what="the second acknowledgement of a halt does not wait for the reverts",
        cuts=(
            Cut(
                f"{_CORE}.halting:Halting.progress",
                "HaltStage.HALT_STAGE_STOPPED if left else HaltStage.HALT_STAGE_REVERTED",
                "HaltStage.HALT_STAGE_REVERTED",
            ),
        ),
    ),
    Bug(
        name="halt-leaves-pauses",
        rule="R12",
        invariant="I6",
        what="a halt keeps new strikes out, and what is paused stays so to its end; nor does its run revert it",
        cuts=(
            Cut(
                "killdeer_coordinator.core.run:Run.end_early", "            self.revert(flight)", "            pass"
            ),
            Cut(
                f"{_CORE}.halting:Halting.engage",
                'self._reverts.cancel_all(Refusal(Reason.REASON_HALTED, f"the fleet was halted by {halt.by}"))',
                "pass",
            ),
        ),
    ),
    Bug(
        name="only-the-first-pause-resumed",
        rule="R13",
        invariant="I6",
        what="a halt resumes the first of several paused victims",
        cuts=(
            Cut(
                f"{_CORE}.reverts:Reverts.cancel_all",
                "        self.cancel(strike, refusal)",
                "        self.cancel(strike, refusal)\n        if strike.reverting:\n            break",
            ),
        ),
    ),
    Bug(
        name="restart-resumes-nothing",
        rule="R13",
        invariant="I8",
        what="a restarted agent takes its pauses for ended, as it does not see them end",
        cuts=(
            Cut(
                f"{_CORE}.restart:_from_past",
                'strike.effect_open = strike.action == "pause"',
                'strike.lives_on("its pause ended while nobody looked")',
            ),
        ),
    ),
    Bug(
        name="failed-revert-given-up",
        rule="R13",
        invariant="I6",
        what="a revert is tried once",
        cuts=(
            Cut(
                f"{_CORE}.reverts:Reverts.reverted",
                "strike.revert_due_ns = self._desk.now.boot_ns + RETRY_REVERT_NS",
                "strike.effect_open = False",
            ),
        ),
    ),
    Bug(
        name="revert-needs-the-disk",
        rule="R13",
        invariant="I6",
        what="while the journal cannot be written nothing is reverted",
        cuts=(
            Cut(
                f"{_CORE}.reverts:Reverts.revert",
                "    strike.reverting = True",
                "    if self._desk.journal_problem:\n        return\n    strike.reverting = True",
            ),
        ),
    ),
    Bug(
        name="strikes-with-a-revert-pending",
        rule="R13",
        invariant="I6",
        what="a host whose last revert has failed takes the next strike",
        cuts=(
            Cut(f"{_CORE}.intake:first_no", "if left := strikes.reverts_left:", 'if left := "":'),
            Cut(f"{_CORE}.intake:no_more", "if left := strikes.reverts_left:", 'if left := "":'),
        ),
    ),
    Bug(
        name="strikes-on-a-journal-not-understood",
        rule="R13",
        invariant="I10",
        what="an unreadable journal is reverted and then struck upon",
        cuts=(
            Cut(
                f"{_CORE}.desk:Desk.journal_problem",
                "return self.distrust or self._write_problem",
                "return self._write_problem",
            ),
        ),
    ),
    Bug(
        name="journal-read-to-its-first-fault",
        rule="R13",
        invariant="I6",
        what="what stands behind a record that cannot be read is not reverted",
        cuts=(
            Cut(
                f"{_CORE}.desk:Desk.recall",
                'self.distrust = self.distrust or f"cannot read the record {record.kind!r}: {error!r}"',
                'self.distrust = f"cannot read the record {record.kind!r}: {error!r}"\n            break',
            ),
        ),
    ),
    Bug(
        name="stop-does-not-wait-for-reverts",
        rule="R13",
        invariant="I6",
        what="an agent that is asked to stop leaves with its reverts on their way",
        cuts=(
            Cut(
                f"{_CORE}.agent:Core._leave",
                "if left and self._desk.now.boot_ns < self._stop_by_ns:",
                "if left and not self._desk.stopping:",
            ),
            Cut(f"{_CORE}.agent:Core.handle", "self._reverts.cancel_all(_STOPPING)", "pass"),
        ),
    ),
    Bug(
        name="local-halt-not-in-the-last-look",
        rule="R14",
        invariant="I4",
        what="the halt file is polled, and not looked for at the moment of the signal",
        cuts=(Cut(f"{_CORE}.warrant:Warrant.refuses", "if halted_locally:", "if not now.boot_ns:"),),
    ),
    Bug(
        name="stopped-unit-started",
        rule="R15",
        invariant="I6",
        what="a unit that somebody has stopped while it waited to be restarted is taken for one that was given up",
        cuts=(
            Cut(
                f"{_CORE}.unit:UnitState.failed_by",
                'self.active == "failed" and ours',
                'self.active in ("failed", "inactive") and ours',
            ),
        ),
    ),
    Bug(
        name="unit-started-whoever-failed-it",
        rule="R15",
        invariant="I6",
        what="a unit that has failed for a reason of its own is started after a hold",
        cuts=(
            Cut(
                f"{_CORE}.unit:UnitState.failed_by",
                "self.main_pid in struck and self.main_signal == KILL",
                "self.main_pid >= 0",
            ),
        ),
    ),
    Bug(
        name="other-boot-not-noticed",
        rule="R15",
        invariant="I1",
        what="pid and start time alone make a process the same, over a reboot too",
        cuts=(
            Cut(
                f"{_CORE}.intake:_wrong_victim",
                "if victim.boot_id != desk.boot_id:",
                "if not victim.boot_id:",
            ),
            Cut(
                f"{_CORE}.door:Door.commanded",
                "strike = OpenStrike(command=command, process=process_of(command))",
                "from dataclasses import replace\n"
                "    process = replace(process_of(command), boot_id=self._desk.boot_id)\n"
                "    strike = OpenStrike(command=command, process=process)",
            ),
        ),
    ),
    # --- permits and limits, as far as the agent's word decides them: R16, R18, R19 ----------------------------
    Bug(
        name="a-namesake-dies-for-the-victim",
        rule="R16",
        invariant="I8",
        what="the exit of whoever has the victim's pid is taken for the victim's",
        cuts=(
            Cut(
                f"{_CORE}.evidence:Evidence._exit",
                "if process not in strike.keys or",
                "if process[0] not in {pid for pid, _ in strike.keys} or",
            ),
            Cut(
                f"{_CORE}.evidence:Evidence._exit",
                "if process != strike.key:",
                "if process[0] != strike.process.pid:",
            ),
        ),
    ),
    Bug(
        name="no-exit-seen-reads-as-alive",
        rule="R16",
        invariant="I8",
        what="where the exit of a SIGKILL was not seen the victim is said to live on",
        cuts=(
            Cut(
                f"{_CORE}.blows:Blows._late",
                "elif strike.exit is None and not strike.last_signal_is_final:",
                "elif strike.exit is None:",
            ),
        ),
    ),
    Bug(
        name="losses-not-counted",
        rule="R16",
        invariant="I8",
        what="a strike does not tell that kernel events were lost while it was open",
        cuts=(
            Cut(
                f"{_CORE}.evidence:Evidence._lose",
                "strike.events_lost = self.lost - strike.lost_at_start",
                "strike.events_lost = 0",
            ),
        ),
    ),
    Bug(
        name="one-successor-for-two-victims",
        rule="R18",
        invariant="I3",
        what="the one process that came back is counted for both victims of its service",
        cuts=(
            Cut(f"{_CORE}.recovery:Recovery._claim", "free.remove(wait.successor)", "pass"),
            Cut(f"{_CORE}.recovery:Recovery._claim", "there.pop(key_of(wait.successor), None)", "pass"),
            Cut(f"{_CORE}.recovery:Recovery._whole", "taken_care_of - (instead - wait.before)", "taken_care_of"),
        ),
    ),
    Bug(
        name="recovered-at-the-first-successor",
        rule="R18",
        invariant="I3",
        what="a service has recovered once a successor is there, however many are missing",
        cuts=(
            Cut(
                f"{_CORE}.recovery:Recovery._whole",
                "return len(alive.keys() - taken_care_of - (instead - wait.before)) >= len(expected)",
                "return bool(expected or instead or taken_care_of) or True",
            ),
        ),
    ),
    Bug(
        name="each-instance-its-own-service",
        rule="R19",
        invariant="I3",
        what="worker@1 and worker@2 have a limit each",
        cuts=(
            Cut(
                f"{_CORE}.place:service_of",
                'return template + at if at and unit.endswith(".service") else unit',
                "return unit",
            ),
        ),
    ),
    # --- sessions, versions, guard: R23, R24, R25, R29 ---------------------------------------------------------
    Bug(
        name="closed-ids-forgotten",
        rule="R23",
        invariant="I2",
        what="an id whose last word was acknowledged is as good as new",
        cuts=(
            Cut(
                f"{_CORE}.strikes:Strikes.answer",
                "elif command_id in memory.closed or command_id in memory.strikes:",
                "elif command_id in memory.strikes:",
            ),
        ),
    ),
    Bug(
        name="newer-fields-ignored",
        rule="R25",
        invariant="I10",
        what="a command is carried out as far as it is understood",
        cuts=(Cut("killdeer.newer:newer_than_me", "if len(unknown):", "if not name:"),),
    ),
    Bug(
        name="reload-lost-during-a-strike",
        rule="R29",
        invariant="I7",
        what="a guard that is reloaded while a strike is open never comes into force",
        cuts=(
            Cut(
                f"{_CORE}.reverts:Reverts.configured",
                "    self._strikes.guard = guard",
                "    if not self._strikes.open:\n        self._strikes.guard = guard",
            ),
        ),
    ),
    Bug(
        name="last-good-guard-kept",
        rule="R29",
        invariant="I7",
        what="a guard that cannot be read leaves the one before it in force",
        cuts=(
            Cut(
                f"{_CORE}.reverts:Reverts.configured",
                "self._strikes.guard = guard",
                "self._strikes.guard = self._strikes.guard if guard.problem else guard",
            ),
        ),
    ),
    Bug(
        name="reload-spares-pauses",
        rule="R29",
        invariant="I6",
        what="a paused process that is newly guarded stays paused",
        cuts=(Cut(f"{_CORE}.reverts:Reverts.configured", "if changed and strike.lasts:", "if not changed:"),),
    ),
    Bug(
        name="built-in-refusals-lifted",
        rule="R29",
        invariant="I7",
        what="an allow rule lifts what is never to be struck",
        cuts=(
            Cut(
                f"{_CORE}.guard:Guard.refuses_always",
                "if facts.pid == 1:",
                "if facts.pid:\n        return None\n    if facts.pid == 1:",
            ),
        ),
    ),
)
