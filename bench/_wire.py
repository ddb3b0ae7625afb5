"""A client of HTTP/1.1 that costs little: one connection a writer, one request at a time, answers parsed by httptools.

The measured service shares two cores with whoever asks it; aiohttp would take as much of them as the service does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import httptools

REFUSED = "refused"
"""Nobody listened, so nothing was sent."""
LOST = "connection lost"
SILENT = "no answer in time"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.  ``status`` is 0 without an answer, and ``error`` then says why; ``began`` is monotonic."""

    status: int
    body: bytes
    began: float
    seconds: float
    error: str = ""


class _Line(asyncio.Protocol):
    """One connection; ``waiter`` is set to the error, or to "" when the answer is complete."""

    def __init__(self) -> None:
        self.waiter: asyncio.Future[str] | None = None
        self.open = True
        self.status = 0
        self.body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits gets no answer any more."""
        self.open = False
        self._tell(LOST)

    def data_received(self, data: bytes) -> None:
        """Parse; what is not HTTP counts as a lost connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_body(self, body: bytes) -> None:
        """Collect."""
        self.body += body

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.close()
        self._tell("")

    def send(self, request: bytes) -> asyncio.Future[str]:
        """Write one request."""
        self.status, self.body = 0, b""
        self.waiter = asyncio.get_running_loop().create_future()
        if self._transport is not None:
            self._transport.write(request)
        return self.waiter

    def close(self) -> None:
        """End the connection at once."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def _tell(self, error: str) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(error)


class Client:
    """One client with one connection, made anew whenever it broke or the service moved to another port."""

    def __init__(self, port: Callable[[], int], timeout_seconds: float = 10.0) -> None:
        """Prepare; ``port`` is asked before each request."""
        self._port, self._timeout_seconds = port, timeout_seconds
        self._line: _Line | None = None
        self._connected_to = 0

    async def post(self, path: str, body: bytes) -> Answer:
        """Send JSON."""
        return await self._ask(
            b"POST %b HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            % (path.encode(), len(body))
            + body
        )

    async def get(self, path: str) -> Answer:
        """Read a page."""
        return await self._ask(b"GET %b HTTP/1.1\r\nhost: bench\r\n\r\n" % path.encode())

    def close(self) -> None:
        """Close the connection; harmless when there is none."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def _ask(self, request: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            line = await self._connected()
        except OSError:
            return Answer(0, b"", began, loop.time() - began, REFUSED)
        waiter = line.send(request)
        timer = loop.call_later(self._timeout_seconds, _give_up, waiter)
        try:
            error = await waiter
        finally:
            timer.cancel()
        if error:
            self.close()
            return Answer(0, b"", began, loop.time() - began, error)
        return Answer(line.status, line.body, began, loop.time() - began)

    async def _connected(self) -> _Line:
        port = self._port()
        if self._line is not None and self._line.open and self._connected_to == port:
            return self._line
        self.close()
        _, self._line = await asyncio.get_running_loop().create_connection(_Line, "127.0.0.1", port)
        self._connected_to = port
        return self._line


def _give_up(waiter: asyncio.Future[str]) -> None:
    if not waiter.done():
        waiter.set_result(SILENT)
