"""What systemd makes of a unit whose process is struck: is it started again, how fast, how often; how does it stop.

Defaults are those of systemd.service(5), systemd.kill(5) and systemd.unit(5). An experiment's `terminate` gives a
process ten seconds unless its file says otherwise.
"""

from collections.abc import Iterator

from killdeer.v1.agent_pb2 import Severity
from killdeer.wording import counted
from killdeer_agent.core.finding import INFO, PROBLEM, WARNING, Finding, lasting
from killdeer_agent.core.preparedness import UnitSettings
from killdeer_agent.core.signals import KILL, TERM, name

S = 1_000_000  # microseconds
GRACE_US = 10 * S
# So long without the service, or in a stop that hangs, is noticed by whoever uses or maintains it.
_SLOW_RESTART_US = 30 * S
_SLOW_STOP_US = 300 * S
_REBOOTS = ("reboot", "poweroff", "exit", "halt", "kexec", "soft-reboot")
_SIGKILL_RESTARTS = frozenset({"always", "on-failure", "on-abnormal", "on-abort"})
_BY_START_LIMIT = "start-limit-hit"


def findings(unit: UnitSettings) -> Iterator[Finding]:
    if not unit.is_service:
        fact = f"{unit.name} is a scope: systemd starts none of its processes again"
        yield Finding(WARNING, "restart-scope", fact, "whoever made it must; or run it as a service")
        return
    yield from _restart(unit)
    if unit.restart not in ("", "no"):
        yield from _start_limit(unit)
    yield from _stop(unit)
    yield from _watch(unit)
    yield from _history(unit)


def _restart(unit: UnitSettings) -> Iterator[Finding]:
    def finding(severity: Severity, kind: str, fact: str, line: str) -> Finding:
        return Finding(severity, kind, fact, "", "Service", line)

    restart = unit.restart or "no"
    wait = lasting(unit.restart_us)
    if restart == "no":
        fact = "Restart=no: once it is killed, it stays down until somebody starts it"
        yield finding(PROBLEM, "restart-never", fact, "Restart=on-failure")
        return
    if restart not in _SIGKILL_RESTARTS:
        fact = f"Restart={restart}: after SIGKILL it stays down"
        yield finding(PROBLEM, "restart-not-after-kill", fact, "Restart=on-failure")
    elif KILL in (unit.unrestarted_signals - unit.restarted_signals):
        fact = f"RestartPreventExitStatus= names SIGKILL: after it, it stays down, whatever Restart={restart} says"
        yield finding(PROBLEM, "restart-prevented", fact, "RestartPreventExitStatus=")
    elif KILL in unit.clean_signals and restart != "always":
        fact = f"SuccessExitStatus= names SIGKILL, so with Restart={restart} it stays down after it"
        yield finding(PROBLEM, "restart-prevented", fact, "Restart=always")
    else:
        fact = f"Restart={restart}: systemd starts it again {wait} after SIGKILL (RestartSec=)"
        yield Finding(INFO, "restart", fact)
        if restart != "always" and TERM not in unit.restarted_signals:
            fact = (
                f"Restart={restart}: after SIGTERM, a clean end, it stays down: a terminate is not recovered from"
            )
            yield finding(WARNING, "restart-not-after-term", fact, "Restart=always")
    if unit.restart_us is None or unit.restart_us >= _SLOW_RESTART_US:
        fact = f"RestartSec={wait}: it is down at least that long after each end"
        yield finding(WARNING, "restart-slow", fact, "RestartSec=1s")


def _start_limit(unit: UnitSettings) -> Iterator[Finding]:
    burst, within = unit.start_burst, unit.start_interval_us
    if not burst or not within:
        yield Finding(INFO, "start-limit-off", "there is no start limit: it is started again however often it ends")
        return
    limit = f"StartLimitBurst={burst}, StartLimitIntervalSec={lasting(within)}"
    pause = unit.restart_us or 0
    if burst * pause > within:
        fact = f"RestartSec={lasting(pause)} keeps its starts apart, so that {limit} is never reached by restarts"
        yield Finding(INFO, "start-limit", fact)
        return
    kills = counted(burst + 1, "kill")
    fact = f"{kills} within {lasting(within)} leave it dead ({limit})"
    line = f"RestartSec={lasting(-(-within // burst // S) * S + S)}"
    change = "start it further apart, or have no limit: StartLimitIntervalSec=0 under [Unit]"
    yield Finding(WARNING, "start-limit", fact, change, "Service", line)
    if unit.start_action in _REBOOTS or unit.start_action.startswith(_REBOOTS):
        fact = f"at its start limit the host goes down: StartLimitAction={unit.start_action}"
        yield Finding(PROBLEM, "start-limit-reboots", fact, "", "Unit", "StartLimitAction=none")


def _stop(unit: UnitSettings) -> Iterator[Finding]:
    stop = lasting(unit.stop_us)
    if not unit.stop_us:
        fact = "TimeoutStopSec=infinity: a stop that hangs, hangs for ever, and the host's shutdown with it"
        yield Finding(WARNING, "stop-endless", fact, "", "Service", "TimeoutStopSec=90s")
    elif unit.stop_us < GRACE_US:
        fact = (
            f"systemd kills it {stop} after asking it to stop; an experiment's terminate gives it 10s, unless told"
        )
        change = f"give it as long as it needs at its slowest, or strike it with terminate: {{grace: {stop}}}"
        yield Finding(WARNING, "stop-short", fact, change, "Service", "TimeoutStopSec=30s")
    elif unit.stop_us > _SLOW_STOP_US:
        fact = f"a stop that hangs takes {stop} (TimeoutStopSec=)"
        yield Finding(WARNING, "stop-long", fact, "", "Service", "TimeoutStopSec=90s")
    else:
        fact = f"systemd gives it {stop} to stop (TimeoutStopSec=), an experiment's terminate 10s, unless told"
        yield Finding(INFO, "stop", fact)
    if not unit.sends_kill:
        fact = "SendSIGKILL=no: what does not stop when it is asked to is never killed"
        yield Finding(PROBLEM, "stop-without-kill", fact, "", "Service", "SendSIGKILL=yes")
    if unit.kill_mode in ("process", "none"):
        fact = f"KillMode={unit.kill_mode}: at a stop or a restart its other processes are left running"
        yield Finding(WARNING, "kill-mode", fact, "", "Service", "KillMode=control-group")
    if unit.kill_signal != TERM:
        stops = name(unit.kill_signal)
        fact = f"systemd stops it by {stops} (KillSignal=), a terminate sends SIGTERM: they may differ"
        yield Finding(INFO, "kill-signal", fact, f"to do what systemctl stop does: kill with {stops}")
    if unit.final_signal != KILL:
        fact = f"FinalKillSignal={name(unit.final_signal)}: what ignores that one, too, is never killed"
        yield Finding(WARNING, "final-signal", fact, "", "Service", "FinalKillSignal=SIGKILL")
    if unit.failure_action in _REBOOTS or unit.failure_action.startswith(_REBOOTS):
        fact = f"the host goes down when it fails: FailureAction={unit.failure_action}"
        yield Finding(PROBLEM, "failure-reboots", fact, "", "Unit", "FailureAction=none")


def _watch(unit: UnitSettings) -> Iterator[Finding]:
    if unit.watchdog_us:
        fact = f"its watchdog ends it after {lasting(unit.watchdog_us)} of silence: a longer pause kills it"
        yield Finding(INFO, "watchdog", fact, f"strike it with pause for less than {lasting(unit.watchdog_us)}")
    else:
        fact = "it has no watchdog: that it hangs, as a pause makes it, is noticed by nobody here"
        yield Finding(INFO, "no-watchdog", fact, "with sd_notify in the program", "Service", "WatchdogSec=30s")
    if not unit.main_pid:
        fact = "systemd knows no main process of it (MainPID=0): it does not see that one end while another is left"
        line = "PIDFile=/run/NAME.pid" if unit.kind == "forking" else "Type=exec"
        yield Finding(WARNING, "no-main-process", fact, "", "Service", line)
    if unit.oom_policy == "continue":
        fact = "OOMPolicy=continue: with a process of it OOM-killed, the unit goes on without that one"
        yield Finding(INFO, "oom-policy", fact, "its main process must start it again", "Service", "OOMPolicy=stop")
    elif unit.oom_policy in ("stop", "kill"):
        yield Finding(INFO, "oom-policy", f"OOMPolicy={unit.oom_policy}: one OOM kill ends the whole unit")


def _history(unit: UnitSettings) -> Iterator[Finding]:
    if unit.restarts:
        fact = (
            f"systemd has started it again {counted(unit.restarts, 'time')} since somebody started it (NRestarts=)"
        )
        change = f"look why before it is struck: killdeer why HOST {unit.name}, journalctl -u {unit.name}"
        yield Finding(WARNING, "restarted", fact, change, weight=unit.restarts)
    if unit.result not in ("", "success"):
        limit = ", it is left dead" if unit.result == _BY_START_LIMIT else ""
        fact = f"its last run ended in {unit.result} (Result=){limit}"
        yield Finding(WARNING, "last-result", fact, f"systemctl status {unit.name}")
    if unit.state == "auto-restart":
        yield Finding(PROBLEM, "down-now", "it is down, and about to be started again (SubState=auto-restart)")
    if unit.reload_needed:
        fact = "its unit files have changed since systemd read them: what is said here is what systemd goes by"
        yield Finding(WARNING, "daemon-reload", fact, "systemctl daemon-reload")
