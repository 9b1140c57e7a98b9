"""Deliberate bugs of the coordinator's core, each a mistake that a good engineer could make. By rule."""

from tests.simulation.bugs_cut import Bug, Cut

_CORE = "killdeer_coordinator.core"

COORDINATOR_BUGS = (
    # --- clocks and leases: R7 to R9 ---------------------------------------------------------------------------
    Bug(
        name="not-after-by-another-clock",
        rule="R7",
        invariant="I5",
        what="not_after is of the coordinator's clock, and the agent reads it by its own",
        cuts=(
            Cut(
                f"{_CORE}.flight:command",
                "min(flight.asked_boot_ns, link.answered_boot_ns) + NOT_AFTER_MS * NS_PER_MS",
                "flight.sent_ns + NOT_AFTER_MS * NS_PER_MS",
            ),
        ),
    ),
    Bug(
        name="renewed-on-an-old-read",
        rule="R9",
        invariant="I5",
        what="leases are renewed while the store cannot be read",
        cuts=(
            Cut(f"{_CORE}.sessions:Sessions._renew", " or not self._roster.store_fresh(now_ns)", ""),
            Cut(f"{_CORE}.drive:Drive._ask_for_permit", " or not roster.store_fresh(self._now)", ""),
        ),
    ),
    Bug(
        name="lost-host-counts-as-stopped",
        rule="R9",
        invariant="I4",
        what="a host whose stream has ended is taken to have stopped at once",
        cuts=(
            Cut(
                f"{_CORE}.sessions:Sessions.left",
                "self._errands.now.mono_ns if parted else max(before_ns, link.lease_until_ns)",
                "self._errands.now.mono_ns",
            ),
        ),
    ),
    Bug(
        name="right-of-the-link-before-forgotten",
        rule="R12",
        invariant="I4",
        what="a host that is cut off before its new link has renewed anything is bounded by that link alone",
        cuts=(
            Cut(f"{_CORE}.sessions:Sessions.left", "max(before_ns, link.lease_until_ns)", "link.lease_until_ns"),
        ),
    ),
    Bug(
        name="unseen-host-counts-as-stopped",
        rule="R9",
        invariant="I4",
        what="a host not seen since the coordinator's start is taken to hold no lease",
        cuts=(
            Cut(
                f"{_CORE}.roster:Roster.right_until",
                "self.rights.get(host, self.started_ns + right)",
                "self.rights.get(host, self.started_ns)",
            ),
        ),
    ),
    Bug(
        name="renewed-while-it-owes-a-halt",
        rule="R9",
        invariant="I4",
        what="a host that has not acknowledged the halt is given more time, past the bound that was printed",
        cuts=(Cut(f"{_CORE}.sessions:Sessions._renew", " or self._halting.owed_by(link)", ""),),
    ),
    # --- halt, abort, revert: R10 to R12 -----------------------------------------------------------------------
    Bug(
        name="halt-not-kept-outside-the-store",
        rule="R10",
        invariant="I4",
        what="a halt that the store could not take is gone with the coordinator",
        cuts=(
            Cut(
                f"{_CORE}.halting:Halting._keep",
                "self._errands.keep(self._roster.halts, self._roster.position)",
                "pass",
            ),
            Cut(
                f"{_CORE}.coordinator:Core._tick",
                "self.errands.keep(self.roster.halts, self.roster.position)",
                "self.errands.keep(Halts(), self.roster.position)",
            ),
        ),
    ),
    Bug(
        name="older-halts-written-over-newer",
        rule="R10",
        invariant="I4",
        what="a write of the state directory that failed is tried again after a later one has worked",
        cuts=(Cut(f"{_CORE}.errands:Errands.tick", "if what.token == self._last_keep:", "if what.token:"),),
    ),
    Bug(
        name="agents-halts-not-learnt",
        rule="R10",
        invariant="I4",
        what="a halt that agents alone have kept does not come back with them",
        cuts=(
            Cut(
                f"{_CORE}.admission:told_by", "    return Halts(engaged)", "    return Halts() if engaged else told"
            ),
        ),
    ),
    Bug(
        name="rearm-lifts-a-halt-that-crosses-it",
        rule="R10",
        invariant="I4",
        what="the release is of all halts in the store, those among them that nobody was shown",
        cuts=(
            Cut(
                f"{_CORE}.halting:_release",
                "released = tuple(record.id for record in active)",
                "released = tuple(sorted({record.id for record in active} | set(books.halts.engaged)))",
            ),
        ),
    ),
    Bug(
        name="abort-without-reverts",
        rule="R11",
        invariant="I6",
        what="a run that is ended early sends no Revert for what was permitted",
        cuts=(Cut(f"{_CORE}.run:Run.end_early", "            self.revert(flight)", "            pass"),),
    ),
    Bug(
        name="abort-ends-at-once",
        rule="R11",
        invariant="I4",
        what="an abort is over before its strikes are acknowledged, or past their time",
        cuts=(
            Cut(
                f"{_CORE}.run:Run.close",
                "all(flight.closed(now_ns, lease_ms) for flight in self.flights.values())",
                "now_ns + lease_ms",
            ),
        ),
    ),
    # --- permits and limits: R16 to R21 ------------------------------------------------------------------------
    Bug(
        name="permit-released-at-death",
        rule="R16",
        invariant="I3",
        what="the victim's exit gives the permit back, not its service's recovery",
        cuts=(
            Cut(
                f"{_CORE}.strikes:_settle",
                "if update.settled or",
                'if update.settled or update.HasField("exit") or',
            ),
        ),
    ),
    Bug(
        name="unknown-releases-the-permit",
        rule="R16",
        invariant="I3",
        what="a strike that was not heard of in time no longer counts",
        cuts=(
            Cut(
                f"{_CORE}.strikes:never_heard_of",
                "return ledger.update(over)(books)",
                'return ledger.release(over.command_id, "recovered", view=over)(books)',
            ),
        ),
    ),
    Bug(
        name="refusal-releases-before-it-is-durable",
        rule="R16",
        invariant="I3",
        what="the word of a refusal gives the permit back, though its id is not used up yet",
        cuts=(
            Cut(
                f"{_CORE}.strikes:_settle",
                "if update.used_up and",
                "if update.state == StrikeState.STRIKE_STATE_REFUSED and",
            ),
        ),
    ),
    Bug(
        name="checked-before-the-lock",
        rule="R17",
        invariant="I3",
        what="the limits are checked on the last read, the permit granted in the transaction",
        cuts=(
            Cut(
                f"{_CORE}.grant:grant",
                "first_broken(books, request)",
                "None",
            ),
            Cut(
                f"{_CORE}.drive:Drive._ask_for_permit",
                "    self._ground.errands.transact(ledger.grant(asked)",
                "    from killdeer_coordinator.core.limits import first_broken\n"
                "    broken = first_broken(roster.books, asked)\n"
                "    if broken is not None:\n"
                "        self._granting = False\n"
                "        self._withheld(flight, wave, broken)\n"
                "        return\n"
                "    self._ground.errands.transact(ledger.grant(asked)",
            ),
        ),
    ),
    Bug(
        name="grant-not-audited",
        rule="R17",
        invariant="I9",
        what="a permit is granted without an entry in the record",
        cuts=(
            Cut(
                f"{_CORE}.grant:grant",
                "Decision((PutPermit(permit), PutStrike(strike)), (entry,), Granted(permit))",
                "Decision((PutPermit(permit), PutStrike(strike)), (entry,)[:0], Granted(permit))",
            ),
        ),
    ),
    Bug(
        name="outcome-not-audited",
        rule="R17",
        invariant="I9",
        what="a strike's end is stored without an entry in the record",
        cuts=(
            Cut(
                f"{_CORE}.ledger:_outcome",
                "if view.state == row.view.state or view.state not in OVER:",
                "if view.state:",
            ),
        ),
    ),
    Bug(
        name="service-counted-host-by-host",
        rule="R19",
        invariant="I3",
        what="a service's limit is for each host, not for the fleet",
        cuts=(
            Cut(
                f"{_CORE}.limits:_fleets",
                "sum(PLACE[scope](permit) == where for permit in flying)",
                'sum(PLACE[scope](permit) == where for permit in flying if scope != "per_service" '
                "or permit.host == request.host)",
            ),
        ),
    ),
    Bug(
        name="zone-counted-host-by-host",
        rule="R19",
        invariant="I3",
        what="a zone's limit counts the victims on the asked host alone",
        cuts=(
            Cut(
                f"{_CORE}.limits:_fleets",
                "sum(PLACE[scope](permit) == where for permit in flying)",
                'sum(PLACE[scope](permit) == where for permit in flying if scope != "per_zone" '
                "or permit.host == request.host)",
            ),
        ),
    ),
    Bug(
        name="limits-of-others-ignored",
        rule="R19",
        invariant="I3",
        what="an experiment passes its own limits, and not those of another with a victim there",
        cuts=(
            Cut(
                f"{_CORE}.limits:_binding",
                "if permit.run_id in binding or (permit.host != request.host and "
                "permit.service != request.service):",
                "if permit.run_id:",
            ),
        ),
    ),
    Bug(
        name="limits-end-with-the-run",
        rule="R19",
        invariant="I3",
        what="a run that has ended binds nobody, though its victim has not recovered",
        cuts=(
            Cut(
                f"{_CORE}.limits:_binding",
                "row = books.runs.get(permit.run_id) or books.ended.get(permit.run_id)",
                "row = books.runs.get(permit.run_id)\n        if row is None:\n            continue",
            ),
        ),
    ),
    Bug(
        name="percentage-rounded-up",
        rule="R19",
        invariant="I3",
        what="50% of three processes is two",
        cuts=(
            Cut(f"{_CORE}.percentage:share", "return percent * total // 100", "return -(-percent * total // 100)"),
        ),
    ),
    Bug(
        name="rate-by-grant-time",
        rule="R20",
        invariant="I3",
        what="the rate counts from the grant, though the signal may fall seconds later",
        cuts=(
            Cut(
                f"{_CORE}.limits:_signal_ms",
                "return permit.struck_ms or permit.not_after_ms",
                "return permit.granted_ms",
            ),
        ),
    ),
    Bug(
        name="unheard-strikes-leave-the-rate",
        rule="R20",
        invariant="I3",
        what="a strike of which no signal was reported does not count for the rate",
        cuts=(
            Cut(
                f"{_CORE}.limits:in_rate",
                "return not permit.never_sent and",
                "return bool(permit.struck_ms) and",
            ),
        ),
    ),
    Bug(
        name="clock-that-ran-back-trusted",
        rule="R20",
        invariant="I3",
        what="permits are granted by a store clock that is behind its own last decision",
        cuts=(Cut(f"{_CORE}.grant:_unfit", "if books.now_ms < books.last_decision_ms:", "if books.now_ms < 0:"),),
    ),
    Bug(
        name="cooldown-from-the-grant",
        rule="R20",
        invariant="I3",
        what="a service's rest begins when its strike was granted, not when it fell",
        cuts=(
            Cut(
                f"{_CORE}.limits:_cooldown",
                "max(_signal_ms(permit) for permit in struck)",
                "max(permit.granted_ms for permit in struck)",
            ),
        ),
    ),
    Bug(
        name="scan-older-than-the-last-grant",
        rule="R21",
        invariant="I3",
        what="the least healthy rests on a scan made before the service's last grant, whose victim is in its count",
        cuts=(
            Cut(
                f"{_CORE}.limits:_fresh",
                "elif granted and standing.begun_ms <= max(granted):",
                "elif granted and not standing.service:",
            ),
            Cut(
                f"{_CORE}.standing:Standing.dooms",
                "and not self.missed(view)",
                'and view.HasField("exit") and not self.missed(view)',
            ),
        ),
    ),
    Bug(
        name="doomed-count-as-healthy",
        rule="R21",
        invariant="I3",
        what="victims that are struck but not gone yet count among the ready",
        cuts=(
            Cut(f"{_CORE}.limits:_healthy", "left = service.ready - service.going - 1", "left = service.ready - 1"),
        ),
    ),
    Bug(
        name="what-must-be-left-rounded-down",
        rule="R21",
        invariant="I3",
        what="of three processes 50% healthy is one",
        cuts=(
            Cut(
                f"{_CORE}.percentage:share_kept",
                "return -(-percent * total // 100)",
                "return percent * total // 100",
            ),
        ),
    ),
    # --- store, sessions, take-over: R22 to R24 ----------------------------------------------------------------
    Bug(
        name="restored-store-not-noticed",
        rule="R22",
        invariant="I3",
        what="a store that was restored from a copy is gone on with",
        cuts=(
            Cut(
                f"{_CORE}.admission:lost_position",
                "if not shown.length or books.position_known(shown):",
                "if not shown.length or books.position_known(shown) or shown.length > books.position.length:",
            ),
        ),
    ),
    Bug(
        name="wiped-journal-served",
        rule="R23",
        invariant="I10",
        what="a host that has lost its session, and with it its journal, is served again",
        cuts=(
            Cut(
                f"{_CORE}.admission:_unknown_session",
                'return "its session is lost: a lost journal, or another machine with its name"',
                'return ""',
            ),
        ),
    ),
    Bug(
        name="clone-served",
        rule="R23",
        invariant="I10",
        what="a session that is not the last one is served",
        cuts=(
            Cut(
                f"{_CORE}.admission:_unknown_session",
                'return "its session is not the last one: a clone, or a disk that was rolled back"',
                'return ""',
            ),
        ),
    ),
    Bug(
        name="sent-again-after-a-reconnect",
        rule="R23",
        invariant="I2",
        what="what was sent to a host that is back is sent once more",
        cuts=(
            Cut(
                f"{_CORE}.runs:Runs.welcomed",
                "            continue  # Welcome has asked about it, and its agent goes on with it",
                "            from killdeer_coordinator.core.flight import command\n"
                "            again = command(flight, run.row, run.intake, link, self.roster)\n"
                "            self.errands.ask(Tell(link.number, ConnectResponse(strike=again)))\n"
                "            continue",
            ),
        ),
    ),
    Bug(
        name="journal-believed-across-a-quarantine",
        rule="R23",
        invariant="I8",
        what="a journal that was lost, or rolled back, says that nothing was sent, and its permit is given back",
        cuts=(
            Cut(
                f"{_CORE}.strikes:_settle",
                " and known_reason != Reason.REASON_QUARANTINED",
                "",
            ),
            Cut(
                f"{_CORE}.admission:open_strike",
                "doubtful = view.reason == Reason.REASON_QUARANTINED or view.victim.boot_id != boot_id",
                "doubtful = False",
            ),
        ),
    ),
    Bug(
        name="restart-voids-what-was-sent",
        rule="R24",
        invariant="I3",
        what="the coordinator that takes over gives back the permits of strikes it has no word of",
        cuts=(
            Cut(
                f"{_CORE}.takeover:end_runs",
                "        changes += _unheard(strike, why)",
                "        from killdeer_coordinator.core.books import PutPermit\n"
                "        permit = books.permits[strike.permit_id]\n"
                "        if not permit.released_ms and not permit.struck_ms:\n"
                '            void = replace(permit, released_ms=books.now_ms, released_why="refused")\n'
                "            changes += (PutPermit(void),)\n"
                "        changes += _unheard(strike, why)",
            ),
        ),
    ),
    Bug(
        name="dead-coordinators-runs-go-on",
        rule="R24",
        invariant="I6",
        what="nobody ends the runs of a coordinator that is not seen any more",
        cuts=(
            Cut(
                f"{_CORE}.presence:_gone",
                "if other.seen_ms and away(other, books.now_ms)]",
                "if other.seen_ms < 0]",
            ),
        ),
    ),
    Bug(
        name="judged-by-who-was-away",
        rule="R24",
        invariant="I10",
        what="a store that was down for all makes whoever is back first end the runs of those who live",
        cuts=(
            Cut(
                f"{_CORE}.presence:beat",
                "judges=now_ms - since_ms >= AWAY_MS",
                "judges=mine is not None",
            ),
        ),
    ),
    Bug(
        name="away-at-the-first-beat-missed",
        rule="R24",
        invariant="I10",
        what="a coordinator that lives is taken over from as soon as a beat of it is late",
        cuts=(Cut(f"{_CORE}.presence:away", "> AWAY_MS", "> 2_500"),),
    ),
    Bug(
        name="limits-of-each-coordinator",
        rule="R19",
        invariant="I3",
        what="the victims of runs that another coordinator drives count for nothing here",
        cuts=(
            Cut(
                f"{_CORE}.limits:first_broken",
                "flying = held(books)",
                "drivers = {run_id: run.driver for run_id, run in (books.runs | books.ended).items()}\n"
                "    mine = drivers.get(request.run_id)\n"
                "    flying = [permit for permit in held(books) if drivers.get(permit.run_id, mine) == mine]",
            ),
        ),
    ),
    Bug(
        name="halts-of-others-not-read",
        rule="R10",
        invariant="I4",
        what="a halt that was asked of another coordinator is in the store, and this one does not look there",
        cuts=(
            Cut(f"{_CORE}.coordinator:Core._read", "self.halting.learn(read.books.halts)", "pass"),
            Cut(f"{_CORE}.sessions:Sessions._admitted", "self._halting.learn(admission.halts)", "pass"),
        ),
    ),
    Bug(
        name="strike-posted-after-a-halt",
        rule="R10",
        invariant="I4",
        what="a strike for another coordinator's host that waits for the store is posted though a halt has begun",
        cuts=(Cut(f"{_CORE}.halting:Halting._begin", "self._errands.recall()", "None"),),
    ),
    Bug(
        name="letter-told-in-a-halt",
        rule="R10",
        invariant="I4",
        what="a strike that waits in a letter is told to its host though the fleet was halted meanwhile",
        cuts=(Cut(f"{_CORE}.letters:opened", " or halted", ""),),
    ),
    Bug(
        name="letter-sent-again",
        rule="R23",
        invariant="I2",
        what="a letter whose posting was said to have failed is posted again with its strike, which is told twice",
        cuts=(
            Cut(f"{_CORE}.errands:Errands.posted", "letters.void(letter) for letter", "letter for letter"),
            Cut(f"{_CORE}.far:Far._again", "before = command_id in self._told", "before = not now_ns"),
        ),
    ),
    Bug(
        name="run-goes-on-after-its-end",
        rule="R24",
        invariant="I4",
        what="a run that is aborting, or has a newer driver, is granted permits",
        cuts=(
            Cut(
                f"{_CORE}.grant:_may_go_on",
                "return run is not None and run.state == RunState.RUN_STATE_RUNNING and run.fence == fence",
                "return run is not None and fence > 0",
            ),
            Cut(
                f"{_CORE}.drive:Drive._send",
                "not wanted or not run.running or ",
                "",
            ),
        ),
    ),
    # --- plan, record, roles: R26, R28, R30, and I8 ------------------------------------------------------------
    Bug(
        name="another-plan-than-approved",
        rule="R26",
        invariant="I10",
        what="a run starts though the world has drifted from the plan that was approved",
        cuts=(
            Cut(
                f"{_CORE}.starting:Starting._unfit",
                "if asked.plan_hash and not draft.plan.hash.startswith(asked.plan_hash):",
                "if asked.plan_hash and not draft.plan.hash:",
            ),
        ),
    ),
    Bug(
        name="halt-waits-for-the-store",
        rule="R28",
        invariant="I4",
        what="a halt is not told while the store cannot take it",
        cuts=(
            Cut(
                f"{_CORE}.halting:Halting._begin",
                "    self._broadcast(ConnectResponse(halt=Halt(halt=record)))",
                "    if self._roster.store_fresh(now.mono_ns):\n"
                "        self._broadcast(ConnectResponse(halt=Halt(halt=record)))",
            ),
        ),
    ),
    Bug(
        name="halt-never-recorded",
        rule="R28",
        invariant="I9",
        what="a halt that is told is not appended to the record",
        cuts=(
            Cut(
                f"{_CORE}.halting:Halting.engage",
                "self._errands.insist(_put(record), lambda decided: self._stored(halt_id))",
                "self._stored(halt_id)",
            ),
        ),
    ),
    Bug(
        name="lost-events-held",
        rule="R28",
        invariant="I8",
        what="a run is said to have held though kernel events were lost while its victims were struck",
        cuts=(
            Cut(
                f"{_CORE}.verdict:judged",
                "if blind := [view for view in struck if view.events_lost]:",
                "if blind := [view for view in struck if view.events_lost < 0]:",
            ),
        ),
    ),
    Bug(
        name="viewer-may-strike",
        rule="R30",
        invariant="I10",
        what="an operator's roles are not asked",
        cuts=(Cut(f"{_CORE}.asks:_unfit", "if not roles & asked.who.roles:", "if not roles:"),),
    ),
    Bug(
        name="owner-is-their-own-second-pair-of-eyes",
        rule="R30",
        invariant="I10",
        what="in production a run's own owner clears its permits, accepts its hosts and rearms",
        cuts=(
            Cut(
                f"{_CORE}.approval:_no",
                "if who in (run.owner, run.started_by) and",
                "if not who and",
            ),
        ),
    ),
)
