"""The one door to Toxiproxy: a thin, corrected layer over toxiproxy-python 0.1.1.

Nothing else imports that library.  What it gets wrong is put right here: its server address is class-wide
(one server a process); it sets no time-out and obeys ``HTTP_PROXY``; a 5xx answer passes for success, so
``enable()`` lies and a busy port is a KeyError; ``add_toxic`` returns nothing; there is no update; names go
into URLs unquoted; ``reset()`` fails silently; ``down()`` enables a proxy that was disabled before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import quote

import requests
import toxiproxy
import toxiproxy.api
import toxiproxy.proxy
import toxiproxy.server

from .._wait import wait_until_sync
from ..errors import DeadlineExceeded, FaultError, UsageError
from .base import Direction, Toxic, ToxicKind

_ENABLE_SECONDS = 3.0
REMOVE_SECONDS = 1.0
"""A toxic is removed within milliseconds, or never."""

_ATTRIBUTES: Mapping[ToxicKind, Mapping[str, int]] = {
    # Smallest values that the server survives: a negative rate panics it, an average_size of 0 crashes it.
    ToxicKind.LATENCY: {"latency": 0, "jitter": 0},
    ToxicKind.BANDWIDTH: {"rate": 0},
    ToxicKind.SLOW_CLOSE: {"delay": 0},
    ToxicKind.TIMEOUT: {"timeout": 0},
    ToxicKind.RESET_PEER: {"timeout": 0},
    ToxicKind.SLICER: {"average_size": 1, "size_variation": 0, "delay": 0},
    ToxicKind.LIMIT_DATA: {"bytes": 0},
}


class ToxiproxyError(FaultError):
    """Toxiproxy refused, failed or did not answer; ``status`` is its HTTP status, None without an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ProxyState:
    """One proxy as Toxiproxy itself reports it; ``listen`` and ``upstream`` are ``host:port``."""

    name: str
    listen: str
    upstream: str
    enabled: bool

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.listen.rpartition(":")[2])


class ToxiproxyClient:
    """One Toxiproxy server.  Blocking, safe from several threads, any number of servers in a process.

    Every method raises :class:`ToxiproxyError` for whatever is not a success, and :class:`UsageError` for
    names and attributes that the server would not survive or would silently ignore.
    """

    def __init__(self, base_url: str, *, timeout_seconds: float = 5.0) -> None:
        self.base_url = base_url.rstrip("/")
        """Such as ``http://127.0.0.1:8474``."""
        self.timeout_seconds = timeout_seconds
        """How long one call may take."""
        self._server = toxiproxy.Toxiproxy()

    def version(self) -> str:
        """What the server calls itself; a build without a stamp says ``git``."""
        answer = self._request("GET", "/version")
        try:
            return str(answer.json()["version"])
        except (ValueError, KeyError, TypeError):
            return answer.text.strip()

    def create(self, name: str, upstream: str, *, listen: str = "127.0.0.1:0", enabled: bool = True) -> ProxyState:
        """Make a proxy; port 0 is replaced by the real one in what is returned.

        An empty ``listen`` would bind every interface and is refused.
        """
        _check_name(name)
        if not listen.rpartition(":")[0]:
            raise UsageError(f"The proxy {name} must listen on an address, such as 127.0.0.1:0, not on {listen!r}.")
        with self._bound():
            self._server.create(upstream, name, listen=listen, enabled=enabled)
        return self.state(name)

    def state(self, name: str) -> ProxyState:
        """The proxy as it is at this moment."""
        data = self._request("GET", f"/proxies/{_quoted(name)}").json()
        return ProxyState(data["name"], data["listen"], data["upstream"], data["enabled"])

    def proxies(self) -> Mapping[str, ProxyState]:
        """Every proxy of the server, by name."""
        with self._bound():
            found = self._server.proxies()
        return {
            name: ProxyState(name, str(proxy.listen), str(proxy.upstream), bool(proxy.enabled))
            for name, proxy in found.items()
        }

    def delete(self, name: str) -> None:
        """Remove a proxy; harmless when there is none."""
        with self._bound():
            self._harmless(self._proxy(name).destroy)

    def disable(self, name: str) -> None:
        """Close the listener and every connection; harmless when disabled."""
        with self._bound():
            self._proxy(name).disable()

    def enable(self, name: str) -> None:
        """Listen again on the same port, and see that it does; harmless when enabled.

        Tried for up to 3 s, since the port may still be closing.
        """
        refusals: list[ToxiproxyError] = []

        def enabled() -> bool:
            try:
                with self._bound():
                    self._proxy(name).enable()
            except ToxiproxyError as error:
                if error.status is None or error.status < 500:
                    raise
                refusals.append(error)
            return self.state(name).enabled

        try:
            wait_until_sync(enabled, what=f"the proxy {name} to listen", deadline_seconds=_ENABLE_SECONDS)
        except DeadlineExceeded as error:
            raise (refusals[-1] if refusals else ToxiproxyError(f"The proxy {name} stays disabled: {error}")) from error

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """Disabled inside the block; afterwards as it was before, which may be disabled."""
        before = self.state(name).enabled
        self.disable(name)
        try:
            yield
        finally:
            if before:
                self.enable(name)

    def add(self, name: str, toxic: Toxic) -> Toxic:
        """Add a toxic to the proxy ``name``; return it as the server then has it."""
        check_toxic(toxic)
        with self._bound():
            self._proxy(name).add_toxic(
                type=str(toxic.kind),
                stream=str(toxic.direction),
                name=toxic.name,
                toxicity=1.0,
                attributes=dict(toxic.attributes),
            )
        return self._one_toxic(name, toxic.name)

    def update(self, name: str, toxic: Toxic) -> Toxic:
        """Change the attributes of a toxic that is there; return it as the server then has it."""
        check_toxic(toxic)
        path = f"/proxies/{_quoted(name)}/toxics/{_quoted(toxic.name)}"
        self._request("POST", path, json={"toxicity": 1.0, "attributes": dict(toxic.attributes)})
        return self._one_toxic(name, toxic.name)

    def toxics(self, name: str) -> Sequence[Toxic]:
        """The toxics that the server itself reports for the proxy."""
        with self._bound():
            found = self._proxy(name).toxics()
        return [
            Toxic(
                str(toxic.name),
                ToxicKind(toxic.type),
                Direction(toxic.stream),
                tuple(sorted((str(key), int(value)) for key, value in toxic.attributes.items())),
            )
            for toxic in found.values()
        ]

    def remove(self, name: str, toxic_name: str, timeout_seconds: float | None = None) -> None:
        """Remove a toxic at once, connections kept; harmless when there is none.

        While a client has stopped reading this can hang the server for good (Toxiproxy issue 558): use
        :meth:`remove_safely` wherever that may be.
        """
        path = f"/proxies/{_quoted(name)}/toxics/{_quoted(toxic_name)}"
        self._harmless(lambda: self._request("DELETE", path, timeout_seconds=timeout_seconds))

    def remove_safely(self, name: str, toxic_names: Sequence[str] | None = None) -> None:
        """Disable, remove (all if none is named), enable again if it was.

        Even so the server can hang: a connection that dies just now may no longer read what its toxic has in hand (a
        slicer, say, in the middle of a long answer), while the removal waits for that toxic with the proxy's toxics
        locked.  Then the proxy is made anew, on the same port, with the toxics that stay.
        """
        state, held = self.state(name), self.toxics(name)
        gone = {toxic.name for toxic in held} if toxic_names is None else set(toxic_names)
        with self.down(name):
            try:
                for toxic_name in sorted(gone):
                    self.remove(name, toxic_name, REMOVE_SECONDS)
            except ToxiproxyError as error:
                if error.status is not None:  # It answered, so it does not hang.
                    raise
                self.delete(name)
                self.create(name, state.upstream, listen=state.listen, enabled=False)
                for toxic in held:
                    if toxic.name not in gone:
                        self.add(name, toxic)

    def reset(self) -> None:
        """Enable all proxies and remove all toxics, in the safe order; unlike ``/reset`` it tells."""
        for name in self.proxies():
            self.disable(name)
            self.remove_safely(name)
            self.enable(name)

    def _one_toxic(self, name: str, toxic_name: str) -> Toxic:
        for toxic in self.toxics(name):
            if toxic.name == toxic_name:
                return toxic
        raise ToxiproxyError(f"Toxiproxy accepted the toxic {toxic_name} on {name}, but does not list it.")

    def _proxy(self, name: str) -> toxiproxy.Proxy:
        # The library puts the name into its URLs as it stands, so it is given the quoted one.
        return toxiproxy.Proxy(name=_quoted(name), upstream="", listen="", enabled=True)

    def _harmless(self, action: Any) -> None:
        try:
            action()
        except ToxiproxyError as error:
            if error.status != 404:
                raise

    @contextmanager
    def _bound(self) -> Iterator[None]:
        """The library's calls of this thread go to this server."""
        before = getattr(_thread, "client", None)
        _thread.client = self
        try:
            yield
        finally:
            _thread.client = before

    def _request(
        self, method: str, path: str, json: Any = None, timeout_seconds: float | None = None
    ) -> requests.Response:
        timeout = self.timeout_seconds if timeout_seconds is None else timeout_seconds
        with requests.Session() as session:
            # A proxy named in the environment has no business with a server on this machine.
            session.trust_env = False
            try:
                answer = session.request(method, self.base_url + path, json=json, timeout=timeout)
            except requests.RequestException as error:
                raise ToxiproxyError(
                    f"Toxiproxy at {self.base_url} did not answer {method} {path} within "
                    f"{timeout:g} s ({type(error).__name__}). Look into toxiproxy.log; a "
                    "hanging server must be started anew."
                ) from error
        if answer.status_code >= 400:
            raise ToxiproxyError(
                f"Toxiproxy at {self.base_url} answered {method} {path} with {answer.status_code}: "
                f"{answer.text.strip()[:300]}",
                answer.status_code,
            )
        return answer


def check_toxic(toxic: Toxic) -> None:
    """Raise :class:`UsageError` for a name or attributes that Toxiproxy would choke on or silently ignore."""
    _check_name(toxic.name)
    smallest = _ATTRIBUTES[toxic.kind]
    for key, value in toxic.attributes:
        if key not in smallest:
            _refuse(toxic, f"has no attribute {key}; it has {', '.join(smallest)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < smallest[key]:
            _refuse(toxic, f"needs a whole number of at least {smallest[key]} for {key}, not {value!r}")
    given = dict(toxic.attributes)
    if toxic.kind is ToxicKind.SLICER and given.get("size_variation", 0) >= given.get("average_size", 0):
        _refuse(toxic, "needs an average_size of at least 1 that is larger than its size_variation")


def _refuse(toxic: Toxic, reason: str) -> NoReturn:
    raise UsageError(f"The toxic {toxic.name} ({toxic.kind}) {reason}. Correct the fault that adds it.")


def _check_name(name: str) -> None:
    if not name or "/" in name:
        raise UsageError(f"Toxiproxy cannot address {name!r}: give a name that is not empty and has no slash.")


def _quoted(name: str) -> str:
    return quote(name, safe="")


class _ThreadConsumer(toxiproxy.api.APIConsumer):  # type: ignore[misc]
    """What the library calls instead of its class-wide consumer: the client bound to the calling thread."""

    @classmethod
    def get(cls, url: str, params: Any = None, **kwargs: Any) -> requests.Response:
        """GET through the bound client."""
        return _client()._request("GET", url)

    @classmethod
    def delete(cls, url: str, **kwargs: Any) -> requests.Response:
        """DELETE through the bound client."""
        return _client()._request("DELETE", url)

    @classmethod
    def post(cls, url: str, data: Any = None, json: Any = None, **kwargs: Any) -> requests.Response:
        """POST through the bound client."""
        return _client()._request("POST", url, json=json)


_thread = threading.local()


def _client() -> ToxiproxyClient:
    client: ToxiproxyClient | None = getattr(_thread, "client", None)
    if client is None:
        raise RuntimeError("toxiproxy-python was called directly; go through ToxiproxyClient")
    return client


toxiproxy.proxy.APIConsumer = _ThreadConsumer
toxiproxy.server.APIConsumer = _ThreadConsumer
