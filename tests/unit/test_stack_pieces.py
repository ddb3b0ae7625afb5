"""The pieces of the embedded stack that need no running part."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from harness.errors import SetupError, UsageError
from harness.stacks.base import Direction, Toxic, ToxicKind
from harness.stacks.cache import build_directory
from harness.stacks.children import tail
from harness.stacks.ports import ephemeral_range, is_listening, reserve_given_port, reserve_port
from harness.stacks.postgres_locator import locate, parse_version
from harness.stacks.postgres_template import remedy_for
from harness.stacks.runner_root import sweep
from harness.stacks.runtime_user import RuntimeUser, run_tool, runtime_user, unreachable_part
from harness.stacks.toxiproxy_client import check_toxic


@pytest.mark.parametrize(
    ("said", "version", "number"),
    [
        ("postgres (PostgreSQL) 18.6\n", "18.6", 180_006),
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18", 150_018),
        ("postgres (PostgreSQL) 19beta2", "19beta2", 190_000),
        ("postgres (PostgreSQL) 19devel", "19devel", 190_000),
    ],
)
def test_a_version_line_is_read(said: str, version: str, number: int) -> None:
    assert parse_version(said) == (version, number)


def test_a_line_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match="no PostgreSQL version"):
        parse_version("error while loading shared libraries")


def test_reserved_ports_lie_below_the_ephemeral_range_and_differ() -> None:
    reservations = [reserve_port() for _ in range(20)]
    try:
        ports = {reservation.port for reservation in reservations}
        assert len(ports) == 20
        if ephemeral_range()[0] > 15_500:
            assert max(ports) < ephemeral_range()[0]
    finally:
        for reservation in reservations:
            reservation.close()


def test_a_reserved_port_is_free_for_its_server_but_not_for_another_runner() -> None:
    reservation = reserve_port()
    try:
        assert not is_listening(reservation.port)
        with pytest.raises(UsageError, match=rf"Port {reservation.port} \(--pg-port\).*another port"):
            reserve_given_port(reservation.port, "--pg-port")
    finally:
        reservation.close()
    reserve_given_port(reservation.port, "--pg-port").close()


def test_a_port_with_a_listener_is_not_reserved() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert is_listening(port)
        with pytest.raises(UsageError, match="in use"):
            reserve_given_port(port, "--pg-port")


def test_a_number_that_is_no_port_is_refused() -> None:
    with pytest.raises(UsageError, match="is no port"):
        reserve_given_port(70_000, "--pg-port")


def test_a_builder_that_fails_leaves_nothing_half(tmp_path: Path) -> None:
    final = tmp_path / "thing"
    with suppress(OSError), build_directory(final) as place:
        assert place is not None
        (place / "part").touch()
        raise OSError("half way")
    assert {path.name for path in tmp_path.iterdir()} == {"thing.lock"}


def test_what_a_dead_builder_left_is_removed_by_the_next(tmp_path: Path) -> None:
    abandoned = tmp_path / ".build-thing-dead"
    abandoned.mkdir()
    with build_directory(tmp_path / "thing") as place:
        assert place is not None
        assert not abandoned.exists()


def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    final, built = tmp_path / "thing", []
    together = threading.Barrier(4)

    def build() -> None:
        together.wait()
        with build_directory(final) as place:
            if place is not None:
                built.append(place)
                (place / "new").touch()
                (place / "new").rename(final)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_directory_closed_to_others_is_named_as_the_obstacle(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    stranger = RuntimeUser("stranger", 54_321, 54_321, switches=True)
    # pytest's own directory may already be closed: the first obstacle is the one that is named.
    obstacle = unreachable_part(closed / "inner", stranger)
    assert obstacle is not None
    assert obstacle == closed or obstacle in closed.parents


def test_a_missing_path_counts_as_unreachable(tmp_path: Path) -> None:
    stranger = RuntimeUser("stranger", 54_321, 54_321, switches=True)
    assert unreachable_part(Path("/") / "no such directory", stranger) == Path("/no such directory")
    assert unreachable_part(tmp_path / "missing", runtime_user()) is not None


def test_a_bindir_without_postgres_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no postgres in .*--pg-bindir.*pg_config --bindir"):
        locate(tmp_path / "missing", runtime_user())


def test_a_tool_that_is_missing_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="could not be started"):
        run_tool([tmp_path / "missing"], cwd=tmp_path)


def test_a_tool_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="did not end within"):
        run_tool(["cat", "/dev/zero"], cwd=tmp_path, timeout_seconds=0.05)


def test_a_full_disk_has_its_remedy() -> None:
    assert "TMPDIR" in remedy_for("cp: error writing '/x': No space left on device")
    assert remedy_for("something else") == ""


def test_the_tail_of_a_missing_log_says_so(tmp_path: Path) -> None:
    assert "unreadable" in tail(tmp_path / "missing")
    (tmp_path / "log").write_text("1\n2\n3\n")
    assert tail(tmp_path / "log", lines=2) == "2\n3"


def test_the_sweep_leaves_directories_that_are_not_runner_roots(tmp_path: Path) -> None:
    (tmp_path / "ph-strange").mkdir()
    assert sweep(tmp_path) == []
    assert (tmp_path / "ph-strange").exists()


def test_the_sweep_removes_the_root_of_a_dead_runner(tmp_path: Path) -> None:
    root = tmp_path / "ph-dead"
    root.mkdir()
    (root / ".partition-harness.lock").touch()
    assert sweep(tmp_path) == [root]
    assert not root.exists()


def _toxic(kind: ToxicKind, **attributes: int) -> Toxic:
    return Toxic("t", kind, Direction.DOWNSTREAM, tuple(attributes.items()))


@pytest.mark.parametrize(
    "toxic",
    [
        _toxic(ToxicKind.BANDWIDTH, rate=-1),
        _toxic(ToxicKind.SLICER, average_size=0),
        _toxic(ToxicKind.SLICER, delay=5),
        _toxic(ToxicKind.SLICER, average_size=10, size_variation=10),
        _toxic(ToxicKind.LATENCY, latency=-5),
        _toxic(ToxicKind.LATENCY, latencey=5),
        _toxic(ToxicKind.LIMIT_DATA, bytes=True),
        Toxic("a/b", ToxicKind.LATENCY, Direction.UPSTREAM),
        Toxic("", ToxicKind.LATENCY, Direction.UPSTREAM),
    ],
)
def test_a_toxic_that_the_server_would_not_survive_is_refused(toxic: Toxic) -> None:
    with pytest.raises(UsageError):
        check_toxic(toxic)


def test_toxics_at_their_smallest_values_pass() -> None:
    check_toxic(_toxic(ToxicKind.BANDWIDTH, rate=0))
    check_toxic(_toxic(ToxicKind.TIMEOUT, timeout=0))
    check_toxic(_toxic(ToxicKind.SLICER, average_size=1))
    check_toxic(_toxic(ToxicKind.SLICER, average_size=10, size_variation=9, delay=1))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root switches users")
def test_root_hands_postgresql_to_an_unprivileged_user() -> None:
    user = runtime_user()
    assert user.switches
    assert user.popen_uid not in (None, 0)
    assert user.popen_groups == ()
