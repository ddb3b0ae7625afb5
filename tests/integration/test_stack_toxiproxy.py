"""The corrected client against a real Toxiproxy: one test for each fault of toxiproxy-python."""

import asyncio
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from harness._wait import pause
from harness.errors import UsageError
from harness.stacks.base import Direction, Toxic, ToxicKind
from harness.stacks.toxiproxy_binary import obtain_binary
from harness.stacks.toxiproxy_client import ToxiproxyClient, ToxiproxyError
from harness.stacks.toxiproxy_process import ToxiproxyProxy, ToxiproxyServer, listening_port

LATENCY = Toxic("slow", ToxicKind.LATENCY, Direction.DOWNSTREAM, (("jitter", 0), ("latency", 1)))


@asynccontextmanager
async def running(place: Path):  # type: ignore[no-untyped-def]
    server = ToxiproxyServer(obtain_binary(print, {}), place, place / "toxiproxy.log", {"PATH": "/usr/bin"})
    try:
        yield await server.start(), server
    finally:
        await server.stop()


@pytest.fixture(scope="module")
def client() -> Iterator[ToxiproxyClient]:
    with tempfile.TemporaryDirectory() as place, asyncio.Runner() as runner:
        context = running(Path(place))
        client, server = runner.run(context.__aenter__())
        yield client
        runner.run(context.__aexit__(None, None, None))
        assert server.pid is None


@pytest.fixture
def name(client: ToxiproxyClient) -> Iterator[str]:
    client.create("postgres", "127.0.0.1:1")
    yield "postgres"
    client.delete("postgres")


def test_the_server_that_answers_is_the_process_that_was_started(tmp_path: Path) -> None:
    async def start() -> None:
        async with running(tmp_path) as (client, server):
            assert client.version() in ("2.12.0", "git")
            assert client.base_url == f"http://127.0.0.1:{listening_port(server.pid)}"

    asyncio.run(start())


def test_two_servers_in_one_process_are_kept_apart(client: ToxiproxyClient, name: str, tmp_path: Path) -> None:
    async def compare() -> None:
        async with running(tmp_path) as (other, _):
            other.create("elsewhere", "127.0.0.1:2")
            assert set(other.proxies()) == {"elsewhere"}
            assert set(client.proxies()) == {name}

    asyncio.run(compare())


def test_threads_of_different_servers_do_not_mix(client: ToxiproxyClient, name: str, tmp_path: Path) -> None:
    async def compare() -> None:
        async with running(tmp_path) as (other, _):
            other.create("elsewhere", "127.0.0.1:2")
            seen: dict[str, set[str]] = {"client": set(), "other": set()}

            def ask(key: str, server: ToxiproxyClient) -> None:
                for _ in range(20):
                    seen[key] |= set(server.proxies())

            threads = [threading.Thread(target=ask, args=pair) for pair in (("client", client), ("other", other))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert seen == {"client": {name}, "other": {"elsewhere"}}

    asyncio.run(compare())


def test_a_server_that_never_answers_runs_into_the_time_out() -> None:
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        deaf = ToxiproxyClient(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.1)
        with pytest.raises(ToxiproxyError, match="did not answer") as caught:
            deaf.proxies()
        assert caught.value.status is None


def test_a_proxy_of_the_environment_is_not_used(client: ToxiproxyClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    client.proxies()


def test_a_busy_port_is_an_error_with_the_servers_words(client: ToxiproxyClient) -> None:
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(ToxiproxyError, match="address already in use") as caught:
            client.create("busy", "127.0.0.1:1", listen=f"127.0.0.1:{holder.getsockname()[1]}")
    assert caught.value.status == 500
    client.delete("busy")


def test_enable_on_a_busy_port_fails_and_works_once_it_is_free(client: ToxiproxyClient, name: str) -> None:
    port = client.state(name).port
    client.disable(name)
    with closing(socket.socket()) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        with pytest.raises(ToxiproxyError, match="address already in use"):
            client.enable(name)
        assert not client.state(name).enabled
    client.enable(name)
    assert client.state(name).enabled
    assert client.state(name).port == port


def test_the_port_is_read_back_and_bound_to_loopback_only(client: ToxiproxyClient, name: str) -> None:
    assert client.state(name).port > 0
    assert client.state(name).listen.startswith("127.0.0.1:")
    with pytest.raises(UsageError, match="listen on an address"):
        client.create("open", "127.0.0.1:1", listen=":0")


def test_a_name_taken_twice_is_an_error(client: ToxiproxyClient, name: str) -> None:
    with pytest.raises(Exception, match="exists"):
        client.create(name, "127.0.0.1:1")


def test_an_added_toxic_is_returned_as_the_server_has_it(client: ToxiproxyClient, name: str) -> None:
    assert client.add(name, LATENCY) == LATENCY
    assert client.toxics(name) == [LATENCY]


def test_every_kind_of_toxic_is_accepted(client: ToxiproxyClient, name: str) -> None:
    for kind in ToxicKind:
        attributes = (("average_size", 1),) if kind is ToxicKind.SLICER else ()
        client.add(name, Toxic(f"a {kind}", kind, Direction.UPSTREAM, attributes))
    assert {toxic.kind for toxic in client.toxics(name)} == set(ToxicKind)
    client.remove_safely(name)
    assert client.toxics(name) == []
    assert client.state(name).enabled


def test_a_toxic_is_updated_in_place(client: ToxiproxyClient, name: str) -> None:
    client.add(name, LATENCY)
    slower = Toxic("slow", ToxicKind.LATENCY, Direction.DOWNSTREAM, (("jitter", 0), ("latency", 7)))
    assert client.update(name, slower) == slower


def test_a_toxic_added_twice_is_an_error(client: ToxiproxyClient, name: str) -> None:
    client.add(name, LATENCY)
    with pytest.raises(ToxiproxyError) as caught:
        client.add(name, LATENCY)
    assert caught.value.status == 409


@pytest.mark.parametrize("odd", ["with space", "100%", "a?b#c", "déjà"])
def test_odd_names_are_quoted(client: ToxiproxyClient, odd: str) -> None:
    client.create(odd, "127.0.0.1:1")
    try:
        client.add(odd, Toxic(odd, ToxicKind.LATENCY, Direction.UPSTREAM))
        assert [toxic.name for toxic in client.toxics(odd)] == [odd]
        client.remove(odd, odd)
        assert client.toxics(odd) == []
        client.disable(odd)
        assert not client.state(odd).enabled
    finally:
        client.delete(odd)
    assert odd not in client.proxies()


def test_a_name_with_a_slash_cannot_be_addressed(client: ToxiproxyClient) -> None:
    with pytest.raises(UsageError, match="no slash"):
        client.create("a/b", "127.0.0.1:1")


def test_removing_what_is_not_there_is_harmless(client: ToxiproxyClient, name: str) -> None:
    client.remove(name, "missing")
    client.delete("missing")


def test_an_unknown_proxy_is_an_error(client: ToxiproxyClient) -> None:
    with pytest.raises(ToxiproxyError) as caught:
        client.disable("missing")
    assert caught.value.status == 404


def test_down_leaves_a_disabled_proxy_disabled(client: ToxiproxyClient, name: str) -> None:
    with client.down(name):
        assert not client.state(name).enabled
    assert client.state(name).enabled
    client.disable(name)
    with client.down(name):
        pass
    assert not client.state(name).enabled


def test_reset_enables_and_clears_and_a_dead_server_is_an_error(client: ToxiproxyClient, name: str) -> None:
    client.add(name, LATENCY)
    client.disable(name)
    client.reset()
    assert client.state(name).enabled
    assert client.toxics(name) == []
    with pytest.raises(ToxiproxyError):
        ToxiproxyClient("http://127.0.0.1:1", timeout_seconds=0.2).reset()


def test_a_black_hole_is_removed_in_the_order_that_cannot_hang(client: ToxiproxyClient) -> None:
    async def play() -> None:
        with ExitStack() as sockets:
            upstream = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
            state = client.create("hole", f"127.0.0.1:{upstream.getsockname()[1]}")
            proxy = ToxiproxyProxy(client, "hole", state.port)
            await proxy.add(Toxic("hole", ToxicKind.TIMEOUT, Direction.DOWNSTREAM, (("timeout", 0),)))
            talker = sockets.enter_context(socket.create_connection(("127.0.0.1", state.port)))
            far = sockets.enter_context(upstream.accept()[0])
            far.setblocking(False)
            # A client that has stopped reading, with more on its way than the buffers take.
            with suppress(BlockingIOError):
                while far.send(b"x" * 65_536):
                    pass
            await proxy.remove("hole")
            assert await proxy.toxics() == []
            assert await proxy.is_enabled()
            talker.settimeout(5)
            with suppress(ConnectionError):
                assert talker.recv(1) == b""

    try:
        asyncio.run(play())
    finally:
        client.delete("hole")


def test_a_removal_that_hangs_has_the_proxy_made_anew_with_what_stays(
    client: ToxiproxyClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unanswered(self: ToxiproxyClient, proxy: str, toxic: str, timeout_seconds: float | None = None) -> None:
        raise ToxiproxyError(f"no answer within {timeout_seconds} s")

    monkeypatch.setattr(ToxiproxyClient, "remove", unanswered)
    before = client.state(name)
    slicer = Toxic(
        "slices", ToxicKind.SLICER, Direction.UPSTREAM, (("average_size", 9), ("delay", 1), ("size_variation", 0))
    )
    for toxic in (LATENCY, slicer):
        client.add(name, toxic)
    client.remove_safely(name, ["slices"])
    assert (client.state(name), client.toxics(name)) == (before, [LATENCY])
    client.disable(name)
    client.remove_safely(name)
    assert (client.state(name).enabled, client.toxics(name)) == (False, [])


@asynccontextmanager
async def closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close it in the end and wait until its socket is, lest it is found open when nobody runs its loop any more."""
    with suppress(OSError):
        try:
            yield
        finally:
            writer.close()
            await writer.wait_closed()


def test_toxics_leave_while_every_connection_streams(client: ToxiproxyClient) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with closed(writer):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async def swallow(reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while await reader.read(65_536):
                pass

    async def stream(port: int) -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                swallowing = asyncio.create_task(swallow(reader))
                async with closed(writer):
                    while not swallowing.done():
                        writer.write(b"x" * 20_000)
                        await writer.drain()
                        await pause(0.01)
            await pause(0.005)

    async def play() -> None:
        upstream = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = upstream.sockets[0].getsockname()[1]
        proxy = ToxiproxyProxy(client, "streaming", client.create("streaming", f"127.0.0.1:{port}").port)
        streams = [asyncio.create_task(stream(proxy.port)) for _ in range(40)]
        attributes = (("average_size", 100), ("delay", 400), ("size_variation", 0))
        try:
            for _ in range(15):
                for direction in Direction:
                    await proxy.add(Toxic(f"slices-{direction}", ToxicKind.SLICER, direction, attributes))
                await pause(0.1)
                for direction in Direction:
                    await proxy.remove(f"slices-{direction}")
                assert await proxy.toxics() == []
                assert await proxy.is_enabled()
        finally:
            for task in streams:
                task.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
            upstream.close()

    try:
        asyncio.run(play())
    finally:
        client.delete("streaming")


def test_cleanse_clears_and_enables_even_a_disabled_proxy(client: ToxiproxyClient, name: str) -> None:
    async def play() -> None:
        proxy = ToxiproxyProxy(client, name, client.state(name).port)
        await proxy.add(LATENCY)
        await proxy.disable()
        await proxy.disable()
        assert not await proxy.is_enabled()
        await proxy.cleanse()
        assert await proxy.is_enabled()
        assert await proxy.toxics() == []
        await proxy.enable()

    asyncio.run(play())
