"""What waits for operators: bounded, told to the core when nobody reads it any more."""

import asyncio
from contextlib import aclosing

import pytest

from killdeer.v1 import operator_pb2 as o
from killdeer_coordinator.core.words import Asked, Gone, Input, Operator, Refuse, Reply
from killdeer_coordinator.edges.asks import WAITING_MOST, Asks, Refused
from killdeer_coordinator.edges.feed import Feed

WHO = Operator("somebody", frozenset({"viewer"}))
ASK = o.WatchRunRequest(run="r1")


def event(number: int) -> o.WatchEventsResponse:
    return o.WatchEventsResponse(number=number)


def test_a_caller_gets_its_answers_up_to_the_last() -> None:
    posted: list[Input] = []

    async def run() -> list[object]:
        asks = Asks(posted.append)
        asking = asks.ask(WHO, ASK)
        first = asyncio.ensure_future(anext(asking))
        await asyncio.sleep(0)
        asks.answer(Reply(1, event(1), last=False))
        asks.answer(Reply(1, event(2)))
        return [await first, *[answer async for answer in asking]]

    assert asyncio.run(run()) == [event(1), event(2)]
    assert [type(said) for said in posted] == [Asked]


def test_the_core_is_told_of_a_caller_that_leaves_before_its_last_answer() -> None:
    posted: list[Input] = []

    async def run() -> None:
        asks = Asks(posted.append)
        async with aclosing(asks.ask(WHO, ASK)) as answers:
            first = asyncio.ensure_future(anext(answers))
            await asyncio.sleep(0)
            asks.answer(Reply(1, event(1), last=False))
            await first
        asks.answer(Reply(1, event(2)))  # too late, and no fault

    asyncio.run(run())
    assert posted[1:] == [Gone(1)]


def test_a_caller_that_does_not_read_is_ended_and_the_core_is_told_once() -> None:
    posted: list[Input] = []

    async def run() -> None:
        asks = Asks(posted.append)
        asking = asks.ask(WHO, ASK)
        first = asyncio.ensure_future(anext(asking))
        await asyncio.sleep(0)
        for number in range(WAITING_MOST + 10):
            asks.answer(Reply(1, event(number), last=False))
        with pytest.raises(Refused, match="are not read") as refused:
            await first
        assert refused.value.refuse.code == "UNAVAILABLE"  # a client that wakes up asks again

    asyncio.run(run())
    assert posted[1:] == [Gone(1)]


def test_a_refusal_ends_the_ask() -> None:
    posted: list[Input] = []

    async def run() -> None:
        asks = Asks(posted.append)
        asking = asyncio.ensure_future(anext(asks.ask(WHO, ASK)))
        await asyncio.sleep(0)
        asks.answer(Refuse(ask=1, code="NOT_FOUND", message="cannot find the run"))
        with pytest.raises(Refused, match="cannot find the run"):
            await asking

    asyncio.run(run())
    assert [type(said) for said in posted] == [Asked]


def test_a_follower_that_is_far_behind_loses_the_oldest_events() -> None:
    async def run() -> list[int]:
        feed = Feed(behind_most=3)
        with feed.listen() as listening:
            feed.publish([event(number) for number in range(5)])
            return [said.number for said in (listening.get_nowait() for _ in range(3)) if said is not None]

    assert asyncio.run(run()) == [2, 3, 4]


def test_whoever_follows_is_told_that_the_feed_is_over_also_when_it_comes_late() -> None:
    async def run() -> list[o.WatchEventsResponse | None]:
        feed = Feed()
        with feed.listen() as early:
            feed.close()
            with feed.listen() as late:
                return [early.get_nowait(), late.get_nowait()]

    assert asyncio.run(run()) == [None, None]
