"""Outboxes, of coordinator and agent: halt before revert before the rest, bounded, nothing lost in silence."""

import asyncio

import pytest

from killdeer.v1 import agent_pb2 as a
from killdeer.v1.process_pb2 import KernelEvent
from killdeer_agent.outbox import Outbox as AgentOutbox
from killdeer_coordinator.edges.outbox import Outbox, urgency


def response(kind: str) -> a.ConnectResponse:
    frame = a.ConnectResponse()
    getattr(frame, kind).SetInParent()
    return frame


async def drained(outbox: Outbox) -> list[str]:
    outbox.close()
    return [frame.decode() async for frame in outbox.frames()]


def test_halt_goes_before_revert_before_the_rest_which_keeps_its_order() -> None:
    async def run() -> list[str]:
        outbox = Outbox()
        for kind in ("strike", "scan", "ack", "revert", "lease_renewal", "halt", "strike", "rearm"):
            outbox.put(kind.encode(), urgency(response(kind)))
        return await drained(outbox)

    assert asyncio.run(run()) == ["halt", "rearm", "revert", "strike", "scan", "ack", "lease_renewal", "strike"]


def test_every_frame_of_the_wire_has_its_place() -> None:
    kinds = [field.name for field in a.ConnectResponse.DESCRIPTOR.fields]
    places = {kind: urgency(response(kind)) for kind in kinds}
    assert {kind for kind, place in places.items() if place == 0} == {"halt", "rearm", "welcome"}
    assert {kind for kind, place in places.items() if place == 1} == {"revert"}
    assert urgency(a.ConnectResponse()) == 2


def test_a_frame_more_than_it_holds_is_told_whatever_its_urgency() -> None:
    async def run() -> list[str]:
        outbox = Outbox(most=2)
        assert outbox.put(b"a", 2)
        assert outbox.put(b"b", 2)
        assert not outbox.put(b"c", 2)
        assert not outbox.put(b"d", 0)
        return await drained(outbox)

    assert asyncio.run(run()) == ["a", "b"]


def test_what_is_put_after_the_last_frame_is_not_sent() -> None:
    async def run() -> list[str]:
        outbox = Outbox()
        outbox.put(b"last", 2)
        outbox.close()
        assert outbox.put(b"late", 0)
        return await drained(outbox)

    assert asyncio.run(run()) == ["last"]


def test_a_frame_that_comes_while_the_writer_waits_wakes_it() -> None:
    async def run() -> bytes:
        outbox = Outbox()
        waiting = asyncio.ensure_future(anext(outbox.frames()))
        await asyncio.sleep(0)
        outbox.put(b"frame", 2)
        return await waiting

    assert asyncio.run(run()) == b"frame"


# --- the agent's --------------------------------------------------------------------------------------------


def evidence(events: int) -> a.ConnectRequest:
    return a.ConnectRequest(evidence=a.Evidence(events=[KernelEvent()] * events))


def update(number: int) -> a.ConnectRequest:
    return a.ConnectRequest(strike_update=a.StrikeUpdate(number=number))


ACK = a.ConnectRequest(halt_ack=a.HaltAck(halt_id="h1"))


async def left(outbox: AgentOutbox) -> list[a.ConnectRequest]:
    outbox.close()
    return [frame async for frame in outbox.frames()]


def test_an_acknowledged_halt_goes_before_everything_else() -> None:
    async def run() -> list[a.ConnectRequest]:
        outbox = AgentOutbox()
        outbox.put(update(1), urgent=False)
        outbox.put(evidence(1), urgent=False)
        outbox.put(ACK, urgent=True)
        return await left(outbox)

    assert asyncio.run(run()) == [ACK, update(1), evidence(1)]


def test_when_it_is_full_evidence_makes_room_and_is_counted() -> None:
    async def run() -> tuple[list[a.ConnectRequest], int]:
        outbox = AgentOutbox(most=3)
        outbox.put(update(1), urgent=False)
        outbox.put(evidence(5), urgent=False)
        outbox.put(evidence(7), urgent=False)
        assert outbox.put(update(2), urgent=False)  # in the place of the older evidence
        assert outbox.put(ACK, urgent=True)  # in the place of the other
        assert outbox.put(evidence(11), urgent=False)  # nothing to give way: lost itself
        return await left(outbox), outbox.dropped_events

    assert asyncio.run(run()) == ([ACK, update(1), update(2)], 5 + 7 + 11)


@pytest.mark.parametrize("urgent", [False, True])
def test_when_it_is_full_of_what_must_not_be_lost_the_link_is_to_be_ended(urgent: bool) -> None:
    async def run() -> bool:
        outbox = AgentOutbox(most=1)
        outbox.put(update(1), urgent=False)
        return outbox.put(update(2), urgent=urgent)

    assert not asyncio.run(run())
