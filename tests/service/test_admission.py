"""The bulkhead: fair, bounded, and closed to months that stall."""

import asyncio

import pytest

from service.admission import STALL_SECONDS, STALLING_SHARE, Admission, DismissedError


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


def nothing() -> None:
    return None


def test_a_healthy_month_may_use_the_whole_pool() -> None:
    async def body() -> None:
        admission = Admission(10, Clock())
        tickets = [await admission.enter("2025_12", 1, nothing) for _ in range(10)]
        assert len(set(tickets)) == 10

    asyncio.run(body())


def test_a_stalling_month_holds_at_most_its_share_and_others_pass_it() -> None:
    async def body() -> None:
        clock = Clock()
        admission = Admission(10, clock)
        for _ in range(STALLING_SHARE):
            await admission.enter("2025_12", 1, nothing)
        clock.now += STALL_SECONDS * 2
        stuck = asyncio.create_task(admission.enter("2025_12", 5, nothing))
        passed = [await admission.enter("2026_01", 1, nothing) for _ in range(10 - STALLING_SHARE)]
        assert len(passed) == 10 - STALLING_SHARE
        assert admission.stalls("2025_12")
        admission.leave("2026_01", passed[0])
        assert not stuck.done()
        admission.dismiss("2025_12")
        with pytest.raises(DismissedError):
            await stuck

    asyncio.run(body())


def test_a_write_that_comes_back_ends_the_stall() -> None:
    async def body() -> None:
        clock = Clock()
        admission = Admission(10, clock)
        tickets = [await admission.enter("2025_12", 1, nothing) for _ in range(STALLING_SHARE)]
        clock.now += STALL_SECONDS * 2
        waiting = asyncio.create_task(admission.enter("2025_12", 5, nothing))
        other = await admission.enter("2026_01", 1, nothing)
        assert not waiting.done()
        admission.leave("2025_12", tickets[0])
        assert await waiting
        admission.leave("2026_01", other)

    asyncio.run(body())


def test_waiters_are_served_in_order_and_a_queued_one_is_told() -> None:
    async def body() -> None:
        admission = Admission(1, Clock())
        first = await admission.enter("a", 1, nothing)
        told: list[str] = []
        order: list[str] = []

        async def wait(key: str) -> None:
            ticket = await admission.enter(key, 5, lambda: told.append(key))
            order.append(key)
            admission.leave(key, ticket)

        tasks = [asyncio.create_task(wait(key)) for key in ("b", "c", "d")]
        while len(told) < 3:
            await asyncio.wait(tasks, timeout=0)
        admission.leave("a", first)
        await asyncio.gather(*tasks)
        assert order == ["b", "c", "d"]

    asyncio.run(body())


def test_a_wait_that_is_too_long_ends_without_losing_a_place() -> None:
    async def body() -> None:
        admission = Admission(1, Clock())
        first = await admission.enter("a", 1, nothing)
        with pytest.raises(DismissedError):
            await admission.enter("b", 0.01, nothing)
        admission.leave("a", first)
        assert await admission.enter("b", 1, nothing)

    asyncio.run(body())
