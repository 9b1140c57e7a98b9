"""Readings of a Prometheus, by its HTTP API: one number, no older than was asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from killdeer.v1.probe_pb2 import PrometheusSource
from killdeer_coordinator.edges import promql
from killdeer_coordinator.edges.answers import Taken, Unknown, finite, status_line
from killdeer_coordinator.edges.http_probe import Http, Question
from killdeer_coordinator.edges.secrets import Headers, Secrets

QUOTED_MOST = 200
# Closed by Prometheus's own documentation; anything else is not repeated.
_ERROR_TYPES = frozenset({"timeout", "canceled", "execution", "bad_data", "internal", "unavailable", "not_found"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    kind: str
    value: Any
    notes: str
    """Its warnings and informations."""


class PrometheusProbe:
    def __init__(self, http: Http, secrets: Secrets) -> None:
        self._http = http
        self._secrets = secrets

    async def take(self, source: PrometheusSource, *, within_ms: int, fresh_within_ms: int) -> Taken:
        """Raises Unknown."""
        headers = await self._secrets.resolve(source.headers)
        result = await self._query(source, headers, query=source.query, timeout=f"{within_ms}ms")
        at_s, value = _one(result)
        if fresh_within_ms:
            # At the same instant, by its own clock.
            await self._check(source, headers, fresh_within_ms, time=f"{at_s:.3f}", timeout=f"{within_ms}ms")
        return Taken(value, result.notes)

    async def _check(
        self, source: PrometheusSource, headers: Headers, fresh_within_ms: int, **parameters: str
    ) -> None:
        read = promql.selectors(source.query)
        told: dict[str, float] = {}
        if read:
            result = await self._query(source, headers, query=promql.ages(read, fresh_within_ms), **parameters)
            told = {
                str(sample["metric"].get(promql.LABEL)): float(sample["value"][1])
                for sample in _vector(result.value)
            }
        if problem := promql.stale(read, fresh_within_ms, told):
            raise Unknown(problem)

    async def _query(self, source: PrometheusSource, headers: Headers, **parameters: str) -> _Result:
        answer = await self._http.ask(
            Question(
                url=f"{source.server.rstrip('/')}/api/v1/query",
                method="POST",  # a query may be longer than an address
                headers=headers,
                body=urlencode(parameters).encode(),
                content_type="application/x-www-form-urlencoded",
                ca_file=source.ca_file,
            )
        )
        try:
            said = json.loads(answer.whole())
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or said.get("status") not in ("success", "error"):
            raise Unknown(f"{status_line(answer.status)}, and not from Prometheus; look at `server`")
        if said["status"] == "error":
            raise Unknown(_refusal(said, headers))
        data = said.get("data")
        if not isinstance(data, dict):
            raise Unknown("Prometheus answered without a result")
        notes = [note for kind in ("warnings", "infos") for note in said.get(kind) or []]
        return _Result(
            kind=str(data.get("resultType")),
            value=data.get("result"),
            notes=_quoted("; ".join(map(str, notes)), headers),
        )


def _one(result: _Result) -> tuple[float, float]:
    """When it was evaluated (seconds), and the number. Raises Unknown."""
    match result.kind, result.value:
        case "scalar", [at, value]:
            pass
        case "vector", [{"value": [at, value]}]:
            pass
        case "vector", []:
            raise Unknown(
                _with_notes("the query gives no sample: no series of that name and labels is there", result)
            )
        case "vector", list() as several:
            raise Unknown(
                _with_notes(
                    f"the query gives {len(several)} samples, and a reading is one; aggregate them, as with sum(…)",
                    result,
                )
            )
        case "matrix", _:
            raise Unknown(
                "the query gives samples over time, and a reading is one; put rate(…) or max_over_time(…) around it"
            )
        case _:
            raise Unknown("the query gives no number")
    try:
        return float(at), finite(float(value), "the result")
    except (TypeError, ValueError):
        raise Unknown("Prometheus answered with what is no number") from None


def _with_notes(problem: str, result: _Result) -> str:
    return f"{problem} ({result.notes})" if result.notes else problem


def _vector(result: object) -> list[Mapping[str, Any]]:
    """Raises Unknown for what is no list of samples."""
    if isinstance(result, list) and all(
        isinstance(sample, dict)
        and isinstance(sample.get("metric"), dict)
        and isinstance(sample.get("value"), list)
        and len(sample["value"]) == 2
        for sample in result
    ):
        return result
    raise Unknown("Prometheus does not tell how old the samples are")


def _refusal(said: Mapping[str, object], headers: Headers) -> str:
    kind = said.get("errorType")
    named = f" ({kind})" if kind in _ERROR_TYPES else ""
    text = _quoted(str(said.get("error", "")), headers)
    return f"Prometheus refuses the query{named}: {text or 'try it in its own console'}"


def _quoted(text: str, headers: Headers) -> str:
    """Its words, in one line. None where a secret was sent: whoever stands between could echo it."""
    if headers.secret:
        return ""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= QUOTED_MOST else f"{line[:QUOTED_MOST]}…"
