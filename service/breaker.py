"""The circuit breaker: closed lets writes through, open spares them, half-open lets one probe through."""

import math
import time
from collections.abc import Callable

# A probe at least this often, so that a repair is found well inside the promised 5 s.
PROBE_INTERVAL_MAX_SECONDS = 1.0
# Opened again this soon after a probe closed it, the probe was not representative: back off further.
FLAP_SECONDS = 3.0


class Breaker:
    """Decides whether live writes may try; knows time only through its clock."""

    def __init__(
        self, retry_min_seconds: float, retry_max_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._min, self._max, self._clock = retry_min_seconds, retry_max_seconds, clock
        self._delay = retry_min_seconds
        self._closed_at = -math.inf
        # None: closed. A time: open until the probe that is due then, or half-open, the probe is out.
        self._due_at: float | None = None
        self.failures = 0

    @property
    def allows(self) -> bool:
        """Whether a live write may try."""
        return self._due_at is None

    @property
    def probe_is_due(self) -> bool:
        """Whether it is open and its next probe should go out."""
        return self._due_at is not None and self._clock() >= self._due_at

    def success(self) -> None:
        """A write succeeded."""
        self.failures = 0

    def failure(self, threshold: int = 1) -> bool:
        """A live write failed; opens at `threshold` in a row. Returns whether it opened now."""
        self.failures += 1
        return self.failures >= threshold and self.trip()

    def trip(self) -> bool:
        """Open it. Returns whether it was closed before."""
        if self._due_at is not None:
            return False
        flapping = self._clock() - self._closed_at < FLAP_SECONDS
        self._open(min(self._delay * 2, self._max) if flapping else self._min)
        return True

    def begin_probe(self) -> None:
        """The one probe goes out; one that is not heard of for long is taken for lost."""
        self._due_at = self._clock() + 10 * PROBE_INTERVAL_MAX_SECONDS

    def probe_failed(self) -> None:
        """The probe failed: open again, and wait longer before the next."""
        self._open(min(self._delay * 2, self._max, max(self._min, PROBE_INTERVAL_MAX_SECONDS)))

    def probe_succeeded(self) -> None:
        """The probe succeeded: closed."""
        self._due_at, self._closed_at, self.failures = None, self._clock(), 0

    def _open(self, delay_seconds: float) -> None:
        self._delay = delay_seconds
        self._due_at = self._clock() + delay_seconds
