"""The bulkhead: fair, bounded, and closed to months that stall."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from service.database import STALL_SECONDS, STALLING_SHARE, Admission


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


def nothing() -> None:
    return None


async def take(admission: Admission, key: str, count: int = 1) -> AsyncExitStack:
    """Take places; closing the stack gives them back."""
    places = AsyncExitStack()
    for _ in range(count):
        await places.enter_async_context(admission.place(key, 5, nothing))
    return places


def test_a_healthy_month_may_use_the_whole_pool() -> None:
    async def body() -> None:
        async with await take(Admission(10, Clock()), "2025_12", 10):
            pass

    asyncio.run(body())


def test_a_stalling_month_holds_at_most_its_share_and_others_pass_it() -> None:
    async def body() -> None:
        clock = Clock()
        admission = Admission(10, clock)
        held = [await take(admission, "2025_12", STALLING_SHARE)]
        clock.now += STALL_SECONDS * 2
        stuck = asyncio.create_task(take(admission, "2025_12"))
        await asyncio.wait([stuck], timeout=0)
        passed = await take(admission, "2026_01", 10 - STALLING_SHARE)
        assert admission.stalls("2025_12")
        await passed.aclose()
        assert not stuck.done()
        admission.dismiss("2025_12")
        with pytest.raises(TimeoutError):
            await stuck
        await held[0].aclose()

    asyncio.run(body())


def test_a_write_that_comes_back_ends_the_stall() -> None:
    async def body() -> None:
        clock = Clock()
        admission = Admission(10, clock)
        first = await take(admission, "2025_12")
        held = [await take(admission, "2025_12", STALLING_SHARE - 1)]
        clock.now += STALL_SECONDS * 2
        waiting = asyncio.create_task(take(admission, "2025_12"))
        await asyncio.wait([waiting], timeout=0)
        held.append(await take(admission, "2026_01"))
        assert not waiting.done()
        await first.aclose()
        assert await waiting

    asyncio.run(body())


def test_waiters_are_served_in_order_and_a_queued_one_is_told() -> None:
    async def body() -> None:
        admission = Admission(1, Clock())
        first = await take(admission, "a")
        told: list[str] = []
        order: list[str] = []

        async def wait(key: str) -> None:
            async with admission.place(key, 5, lambda: told.append(key)):
                order.append(key)

        tasks = [asyncio.create_task(wait(key)) for key in ("b", "c", "d")]
        while len(told) < 3:
            await asyncio.wait(tasks, timeout=0)
        await first.aclose()
        await asyncio.gather(*tasks)
        assert order == ["b", "c", "d"]

    asyncio.run(body())


def test_a_wait_that_is_too_long_ends_without_losing_a_place() -> None:
    async def body() -> None:
        admission = Admission(1, Clock())
        first = await take(admission, "a")
        with pytest.raises(TimeoutError):
            async with admission.place("b", 0.01, nothing):
                pass
        await first.aclose()
        assert await take(admission, "b")

    asyncio.run(body())


def test_a_place_granted_in_the_moment_of_its_cancellation_is_given_back() -> None:
    async def body() -> None:
        admission = Admission(1, Clock())
        first = await take(admission, "a")
        waiting = [asyncio.create_task(take(admission, key)) for key in ("b", "c")]
        await asyncio.wait(waiting, timeout=0)
        waiting[1].cancel()
        await first.aclose()
        waiting[0].cancel()
        assert await asyncio.gather(*waiting, return_exceptions=True)
        assert all(one.cancelled() for one in waiting)
        async with await take(admission, "d"):
            pass

    asyncio.run(body())
