"""The circuit breaker against a clock of its own."""

from service.partitions import PROBE_INTERVAL_MAX_SECONDS, Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(0.2, 2.0, clock), clock


def test_it_tells_only_once_that_it_opened() -> None:
    breaker, _ = make()
    assert breaker.trip()
    assert not breaker.trip()
    assert not breaker.allows


def pause_until_due(breaker: Breaker, clock: Clock) -> float:
    """Move the clock in small steps until the probe is due."""
    started = clock.now
    while not breaker.probe_is_due:
        clock.now += 0.01
        assert clock.now < started + 10
    return round(clock.now - started, 1)


def test_a_probe_is_due_after_the_shortest_pause_and_later_after_each_that_failed() -> None:
    breaker, clock = make()
    breaker.trip()
    pauses = []
    for _ in range(5):
        pauses.append(pause_until_due(breaker, clock))
        breaker.begin_probe()
        assert not breaker.probe_is_due
        breaker.end_probe(succeeded=False)
    assert pauses[0] == 0.2
    assert pauses == sorted(pauses)
    assert pauses[-1] == PROBE_INTERVAL_MAX_SECONDS


def test_a_probe_that_is_never_heard_of_again_is_followed_by_another() -> None:
    breaker, clock = make()
    breaker.trip()
    breaker.begin_probe()
    clock.now += 60
    assert breaker.probe_is_due
    assert not breaker.allows


def test_live_writes_wait_for_the_probe_and_go_on_after_it() -> None:
    breaker, _ = make()
    breaker.trip()
    breaker.begin_probe()
    assert not breaker.allows
    breaker.end_probe(succeeded=True)
    assert breaker.allows
    assert not breaker.probe_is_due
