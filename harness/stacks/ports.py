"""Ports for the parts that cannot be bound to 0: PostgreSQL, and the proxy, which must come back on the same one.

They are chosen below the kernel's ephemeral range, where no connection's own source port can be in the way.
The lock of a port is the UDP socket of the same number on 127.0.0.1: it is host-wide (per network namespace,
just as the port is), works among different users, and the kernel frees it with the process, so that none is
left behind.
"""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

from ..errors import SetupError, UsageError

_HOST = "127.0.0.1"
_LOWEST = 15_000
_EPHEMERAL_FROM_DEFAULT = 32_768
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Where an environment's ports lie decides nothing that is judged, so the run's seed has no part in it.
_dice = random.SystemRandom()


class PortReservation:
    """A port that no other runner on this host takes while this object is open; close it to give it back."""

    def __init__(self, port: int, lock: socket.socket) -> None:
        self.port = port
        """The port, on 127.0.0.1."""
        self._lock = lock

    def close(self) -> None:
        """Give the port back; harmless twice."""
        self._lock.close()


def ephemeral_range() -> tuple[int, int]:
    """The first and last port that the kernel hands out by itself (32768 to 60999 where it does not say)."""
    try:
        low, high = _RANGE_FILE.read_text().split()
    except (OSError, ValueError):
        return _EPHEMERAL_FROM_DEFAULT, 60_999
    return int(low), int(high)


def reserve_port() -> PortReservation:
    """Any free port below the ephemeral range; raises :class:`harness.errors.SetupError` without one."""
    below = ephemeral_range()[0]
    ports = range(_LOWEST, below) if below > _LOWEST + 500 else range(_LOWEST, _EPHEMERAL_FROM_DEFAULT)
    for _ in range(2_000):
        reservation = _try(_dice.choice(ports))
        if reservation is not None:
            return reservation
    raise SetupError(
        f"No free port was found between {ports[0]} and {ports[-1]} on {_HOST}. End what listens there "
        "(ss -ltn shows it), or raise the start of net.ipv4.ip_local_port_range."
    )


def reserve_given_port(port: int, option: str) -> PortReservation:
    """The port that the user asked for by ``option``; raises :class:`harness.errors.UsageError` if taken."""
    if not 0 < port < 65_536:
        raise UsageError(f"{option} {port} is no port: give a number from 1 to 65535, or leave the option out.")
    reservation = _try(port)
    if reservation is None:
        raise UsageError(
            f"Port {port} ({option}) on {_HOST} is in use or reserved by another run. End what listens "
            f"there (ss -ltnp 'sport = :{port}' shows it), give another port, or leave {option} out to have "
            "one chosen."
        )
    return reservation


def is_listening(port: int) -> bool:
    """Whether something holds the TCP port on 127.0.0.1, found by binding and not by connecting."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As PostgreSQL and Go do: connections in TIME_WAIT do not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return True
            raise
    return False


def _try(port: int) -> PortReservation | None:
    lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        lock.bind((_HOST, port))
        if not is_listening(port):
            return PortReservation(port, lock)
    except OSError:
        pass
    lock.close()
    return None
