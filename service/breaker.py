"""The circuit breaker: closed lets writes through, open spares them, half-open lets one probe through."""

import time
from collections.abc import Callable

# A probe at least this often, so that a repair is found well inside the promised 5 s.
PROBE_INTERVAL_MAX_SECONDS = 1.0


class Breaker:
    """Decides whether live writes may try; knows time only through its clock."""

    def __init__(
        self, retry_min_seconds: float, retry_max_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._min, self._max, self._clock = retry_min_seconds, retry_max_seconds, clock
        self._delay = retry_min_seconds
        # None: closed. A time: open until the probe that is due then, or half-open, the probe is out.
        self._due_at: float | None = None

    @property
    def allows(self) -> bool:
        """Whether a live write may try."""
        return self._due_at is None

    @property
    def probe_is_due(self) -> bool:
        """Whether it is open and its next probe should go out."""
        return self._due_at is not None and self._clock() >= self._due_at

    def trip(self) -> bool:
        """A live write failed: open it. Returns whether it was closed before."""
        if self._due_at is not None:
            return False
        self._open(self._min)
        return True

    def begin_probe(self) -> None:
        """The one probe goes out; one that is not heard of for long is taken for lost."""
        self._due_at = self._clock() + 10 * PROBE_INTERVAL_MAX_SECONDS

    def probe_failed(self) -> None:
        """The probe failed: open again, and wait longer before the next."""
        self._open(min(self._delay * 2, self._max, max(self._min, PROBE_INTERVAL_MAX_SECONDS)))

    def probe_succeeded(self) -> None:
        """The probe succeeded: closed."""
        self._due_at = None

    def _open(self, delay_seconds: float) -> None:
        self._delay = delay_seconds
        self._due_at = self._clock() + delay_seconds
