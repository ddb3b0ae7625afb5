"""The circuit breaker: closed lets writes through, open spares them, half-open lets one probe through."""

import enum
import time
from collections.abc import Callable

# A probe at least this often, so that a repair is found well inside the promised 5 s.
PROBE_INTERVAL_MAX_SECONDS = 1.0
# Opened again this soon after a probe closed it, the probe was not representative: back off further.
FLAP_SECONDS = 3.0


class State(enum.Enum):
    """The three states of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Decides whether live writes may try; knows time only through its clock."""

    def __init__(
        self, retry_min_seconds: float, retry_max_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._min = retry_min_seconds
        self._max = retry_max_seconds
        self._clock = clock
        self._delay = retry_min_seconds
        self._due_at = 0.0
        self._closed_at = float("-inf")
        self.state = State.CLOSED
        self.failures = 0

    @property
    def allows(self) -> bool:
        """Whether a live write may try."""
        return self.state is State.CLOSED

    def success(self) -> None:
        """A live write succeeded."""
        if self.state is State.CLOSED:
            self.failures = 0

    def failure(self, threshold: int = 1) -> bool:
        """A live write failed; opens at `threshold` in a row. Returns whether it opened now."""
        self.failures += 1
        return self.state is State.CLOSED and self.failures >= threshold and self.trip()

    def trip(self) -> bool:
        """Open it. Returns whether it was closed before."""
        if self.state is not State.CLOSED:
            return False
        now = self._clock()
        flapping = now - self._closed_at < FLAP_SECONDS
        self._delay = min(self._delay * 2, self._max) if flapping else self._min
        self.state = State.OPEN
        self._due_at = now + self._delay
        return True

    @property
    def seconds_to_probe(self) -> float | None:
        """Seconds until the next probe is due, at least 0; None unless it is open."""
        return max(0.0, self._due_at - self._clock()) if self.state is State.OPEN else None

    def begin_probe(self) -> None:
        """The one probe goes out."""
        self.state = State.HALF_OPEN

    def probe_failed(self) -> None:
        """The probe failed: open again, and wait longer before the next."""
        self._delay = min(self._delay * 2, self._max, max(self._min, PROBE_INTERVAL_MAX_SECONDS))
        self.state = State.OPEN
        self._due_at = self._clock() + self._delay

    def probe_succeeded(self) -> None:
        """The probe succeeded: closed."""
        self.state = State.CLOSED
        self.failures = 0
        self._closed_at = self._clock()

    def hasten(self) -> None:
        """There is reason to believe that the next probe succeeds: it is due now."""
        self._due_at = self._clock()
