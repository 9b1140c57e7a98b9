"""The coordinator.toml that `init` writes: every key with its default and its reason."""

import json
from pathlib import Path

from killdeer.durations import format_duration
from killdeer_coordinator.config import Config

_TEXT = """\
# The coordinator's configuration. Every key is here with its default; a key that is not known is refused.
# Relative paths are taken from this file's folder.

# How the audit log and the agents call this coordinator.
name = {name}

# Agents dial in from their hosts; operators have a listener of their own, so that a storm of agents cannot
# starve a halt. POST /halt, over TLS, is for chatops and alert managers.
listen_agents = {listen_agents}
listen_operators = {listen_operators}
listen_halt = {listen_halt}

# Where hosts join with a token of `killdeer-coordinator token create`. Not set, nobody joins here, and agents get
# no new certificates over their streams: both need the CA's key on this machine, [tls] ca_key.
# listen_join = "0.0.0.0:7445"
# Where those who join find this coordinator and others; not set, at the name they dialled for it.
# agents_at = ["coordinator.example.com:7442"]
# How long their certificates live. An agent has the next one when a third of that is left.
certificates = {certificates}

# The store, unless it is elsewhere, and what is kept beside it. One coordinator per directory.
state = {state}

# Where experiments have secrets from, for headers of probes and webhooks: {{file: /etc/killdeer/secrets/NAME}}. No
# other file is read for them.
secrets = {secrets}

# An agent that has not been answered for this long stops, and reverts what it holds.
lease = {lease}
# How often an agent asks for renewal, 5s at most; left out, a third of the lease.
# heartbeat = {heartbeat}

# How long evidence is kept, in days. The audit log is kept for ever.
retention = {retention}

# Lets grpcurl and its like list the services.
reflection = {reflection}

# debug, info, warning or error.
log_level = {log_level}

[tls]
ca = {ca}
cert = {cert}
key = {key}
# Read only where hosts join, and by `token`, `operator` and `init`.
ca_key = {ca_key}

[halt]
# The file with the token of POST /halt.
token = {halt_token}

# One PostgreSQL database for several coordinators. Its password goes into the file that PGPASSFILE names, or into
# PGPASSWORD, in the coordinator's environment.
# [store]
# url = "postgresql://killdeer@db.example.com/killdeer"

# Programs that experiments may run on this machine, as probes or for their load, hooks and recovery, by the name
# that the file calls them; no other is ever run. Each gets the file's arguments behind its own, no shell, no input,
# an environment of PATH and LANG alone, and the rights of the coordinator.
[commands]
# replay = ["/usr/local/bin/replay", "--rate", "100"]

# The most victims that have not recovered, over all experiments. An experiment can only narrow this.
[limits]
in_flight = {in_flight}     # in the whole fleet
per_host = {per_host}
per_service = {per_service}
# per_zone = 1     # a host without the label `zone` is a zone of its own
# per_minute = 6   # signals in any 60 seconds
"""


def example_toml(state: Path | None = None) -> str:
    """The text; read back, it gives the defaults, with the state directory given."""
    config = Config()
    return _TEXT.format(
        name=json.dumps(config.name),
        listen_agents=json.dumps(str(config.listen_agents)),
        listen_operators=json.dumps(str(config.listen_operators)),
        listen_halt=json.dumps(str(config.listen_halt)),
        state=json.dumps(str(state or config.state)),
        certificates=json.dumps(format_duration(config.certificates_ms)),
        secrets=json.dumps(str(config.secrets)),
        lease=json.dumps(format_duration(config.lease_ms)),
        heartbeat=json.dumps(format_duration(config.heartbeat_ms)),
        retention=json.dumps(f"{config.retention_days}d"),
        reflection=json.dumps(config.reflection),
        log_level=json.dumps(config.log_level),
        ca=json.dumps(str(config.ca)),
        cert=json.dumps(str(config.cert)),
        key=json.dumps(str(config.key)),
        ca_key=json.dumps(str(config.ca_key)),
        halt_token=json.dumps(str(config.halt_token)),
        **config.limits.limits,
    )
