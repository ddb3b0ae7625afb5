"""What every implementation of ``Files`` promises, on real files.

To put another one (of a container, say) through it: one more :class:`Kind`, over a folder that this test sees as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import FaultError
from harness.stacks.base import Files
from harness.stacks.local_files import LocalFiles

FILE = "base/5/1259"
SMALL_BYTES = 1 << 20
OWNER = (12345, 12346)


@dataclass(frozen=True)
class Kind:
    """One implementation, opened over a folder."""

    name: str
    over: Callable[[Path], AbstractContextManager[Files]]


@contextmanager
def _local(root: Path) -> Iterator[Files]:
    yield LocalFiles(root)


KINDS = (Kind("local", _local),)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the root folder as this test sees it, with one file in it and a neighbour."""
    root = tmp_path / "pgdata"
    (root / FILE).parent.mkdir(parents=True)
    (root / FILE).write_bytes(b"0123456789")
    (root / FILE).chmod(0o640)
    (tmp_path / "other").write_bytes(b"somebody else's")
    return root


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def files(request: pytest.FixtureRequest, root: Path) -> Iterator[Files]:
    with request.param.over(root) as files:
        yield files


@pytest.fixture
def small(files: Files) -> Iterator[str]:
    """Mount a small file system, or say what keeps it from being mounted."""
    files.make_folder("small")
    try:
        files.mount_small("small", SMALL_BYTES)
    except FaultError as error:
        pytest.skip(str(error))
    yield "small"
    files.unmount("small")


def names(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


def owner_of(place: Path) -> tuple[int, int]:
    return place.stat().st_uid, place.stat().st_gid


CALLS: dict[str, Callable[[Files, str], object]] = {
    "absolute": lambda files, path: files.absolute(path),
    "exists": lambda files, path: files.exists(path),
    "size": lambda files, path: files.size(path),
    "read": lambda files, path: files.read(path),
    "write": lambda files, path: files.write(path, b"gone"),
    "patch": lambda files, path: files.patch(path, [(0, b"gone")]),
    "rename": lambda files, path: files.rename(path, FILE),
    "rename onto": lambda files, path: files.rename(FILE, path),
    "remove": lambda files, path: files.remove(path),
    "mode": lambda files, path: files.mode(path),
    "set_mode": lambda files, path: files.set_mode(path, 0o000),
    "make_folder": lambda files, path: files.make_folder(path),
    "remove_folder": lambda files, path: files.remove_folder(path),
    "remove_tree": lambda files, path: files.remove_tree(path),
    "copy_tree": lambda files, path: files.copy_tree(path, "base"),
    "copy_tree onto": lambda files, path: files.copy_tree("base", path),
    "tree_bytes": lambda files, path: files.tree_bytes(path),
    "mounted": lambda files, path: files.mounted(path),
    "mount_small": lambda files, path: files.mount_small(path, SMALL_BYTES),
    "unmount": lambda files, path: files.unmount(path),
    "fill": lambda files, path: files.fill(path),
}


def test_every_method_of_the_protocol_is_called_by_a_test_of_its_paths() -> None:
    methods = {name for name in vars(Files) if not name.startswith("_")}
    assert {call.partition(" ")[0] for call in CALLS} == methods


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("path", ["../other", "base/../../other", "..", "../..", "/etc/hostname", "../have/harness"])
def test_no_path_leads_out_of_the_root_but_to_what_the_harness_made_beside_it(
    files: Files, root: Path, call: str, path: str
) -> None:
    with pytest.raises(FaultError, match="not touched"):
        CALLS[call](files, path)
    assert (root / FILE).read_bytes() == b"0123456789"
    assert names(root.parent) == ["other", "pgdata"]


@pytest.mark.parametrize("call", ["rename", "rename onto", "remove_folder", "remove_tree", "mount_small", "unmount"])
@pytest.mark.parametrize("path", ["", ".", "../pgdata"])
def test_the_root_itself_stays(files: Files, root: Path, call: str, path: str) -> None:
    with pytest.raises(FaultError, match="stays where it is"):
        CALLS[call](files, path)
    assert (root / FILE).read_bytes() == b"0123456789"


@pytest.mark.parametrize("call", ["read", "patch", "rename", "mode", "set_mode"])
def test_what_is_not_there_is_not_found_and_not_made(files: Files, root: Path, call: str) -> None:
    with pytest.raises(FileNotFoundError):
        CALLS[call](files, "base/5/1")
    assert (root / FILE).read_bytes() == b"0123456789"
    assert names(root / "base/5") == ["1259"]


@pytest.mark.parametrize("call", ["exists", "size", "remove", "remove_folder", "remove_tree", "mounted", "unmount"])
def test_what_is_not_there_is_nothing_to_these(files: Files, call: str) -> None:
    assert not CALLS[call](files, "base/5/1")


def test_a_path_is_told_in_full_as_the_part_itself_knows_it(files: Files) -> None:
    whole = files.absolute("")
    assert whole.startswith("/")
    assert files.absolute(FILE) == f"{whole}/{FILE}"
    assert files.absolute("../harness_small_1/rows") == f"{whole.rpartition('/')[0]}/harness_small_1/rows"


def test_a_file_has_a_size_and_is_read_whole_or_in_part(files: Files) -> None:
    assert files.exists(FILE)
    assert files.exists("base")
    assert files.size(FILE) == 10
    assert files.read(FILE) == b"0123456789"
    assert files.read(FILE, 3) == b"3456789"
    assert files.read(FILE, 3, 2) == b"34"
    assert files.read(FILE, 8, 5) == b"89"
    assert files.read(FILE, 20, 5) == b""
    assert files.read(FILE, 0, 0) == b""


@pytest.mark.parametrize("content", [b"", b"short", b"longer than it was", bytes(range(256)) * 9000])
def test_a_written_file_holds_just_that_and_is_the_same_file_to_who_has_it_open(
    files: Files, root: Path, content: bytes
) -> None:
    with (root / FILE).open("rb") as held:
        files.write(FILE, content)
        assert held.read() == content
    assert files.read(FILE) == content
    assert files.mode(FILE) == 0o640


def test_a_file_that_was_not_there_is_made_for_its_owner_alone(files: Files, root: Path) -> None:
    files.write("base/5/1", b"new")
    assert (root / "base/5/1").read_bytes() == b"new"
    assert files.mode("base/5/1") == 0o600


def test_patches_overwrite_their_places_and_nothing_else(files: Files, root: Path) -> None:
    with (root / FILE).open("rb") as held:
        files.patch(FILE, [(8, b"yz"), (0, b"ab"), (4, b"\0")])
        assert held.read() == b"ab23\x00567yz"
    assert files.mode(FILE) == 0o640
    files.patch(FILE, [])
    assert files.size(FILE) == 10


def test_a_renamed_file_is_the_same_to_who_has_it_open_and_replaces_another(files: Files, root: Path) -> None:
    files.write("base/5/1", b"replaced")
    with (root / FILE).open("ab") as held:
        files.rename(FILE, "base/5/1")
        held.write(b" and more")
    assert not files.exists(FILE)
    assert files.read("base/5/1") == b"0123456789 and more"
    files.rename("base/5", "base/6")
    assert names(root / "base/6") == ["1"]


def test_a_removed_file_is_gone_and_who_has_it_open_keeps_it(files: Files, root: Path) -> None:
    with (root / FILE).open("rb") as held:
        files.remove(FILE)
        assert held.read() == b"0123456789"
    assert not files.exists(FILE)


def test_a_mode_is_set_and_told(files: Files, root: Path) -> None:
    assert files.mode(FILE) == 0o640
    files.set_mode(FILE, 0o000)
    assert files.mode(FILE) == 0
    assert (root / FILE).stat().st_mode & 0o7777 == 0
    files.set_mode(FILE, 0o600)
    assert files.read(FILE) == b"0123456789"


def test_a_folder_is_made_for_its_owner_alone_and_only_once(files: Files) -> None:
    files.make_folder("../harness-beside")
    files.make_folder("../harness-beside/rows")
    assert files.mode("../harness-beside/rows") == 0o700
    with pytest.raises(FileExistsError):
        files.make_folder("../harness-beside")
    with pytest.raises(FileNotFoundError):
        files.make_folder("no/such")


def test_an_empty_folder_is_removed_and_another_stays(files: Files, root: Path) -> None:
    with pytest.raises(OSError, match="base"):
        files.remove_folder("base")
    assert (root / FILE).exists()
    files.make_folder("empty")
    files.remove_folder("empty")
    assert not files.exists("empty")


def test_a_tree_is_removed_with_all_in_it(files: Files, root: Path) -> None:
    files.remove_tree("base")
    assert not names(root)


def test_a_tree_is_copied_into_another_folder_with_its_modes(files: Files, root: Path) -> None:
    files.make_folder("base/5/deep")
    files.write("base/5/deep/.hidden", b"hidden")
    files.set_mode(FILE, 0o666)
    files.make_folder("copy")
    files.write("copy/2", b"was there")
    files.copy_tree("base/5", "copy")
    assert names(root / "copy") == ["1259", "2", "deep"]
    assert files.read("copy/1259") == b"0123456789"
    # A mask of the process would have made it 0644.
    assert files.mode("copy/1259") == 0o666
    assert files.read("copy/deep/.hidden") == b"hidden"
    assert files.read("base/5/deep/.hidden") == b"hidden"


def test_a_copy_that_cannot_be_made_says_so(files: Files) -> None:
    files.make_folder("copy")
    with pytest.raises(OSError, match="could not be copied"):
        files.copy_tree("no-such", "copy")


def test_room_is_counted_in_pages_of_the_disk(files: Files) -> None:
    assert files.tree_bytes("base") == 4096
    files.write("base/5/1", bytes(4097))
    files.write("base/2", b"")
    assert files.tree_bytes("base") == 4096 + 8192


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes in the place of another: run the tests as root")
def test_what_is_made_belongs_to_the_owner_of_the_root(files: Files, root: Path) -> None:
    os.chown(root, *OWNER)
    files.write("made", b"made")
    files.make_folder("folder")
    files.make_folder("../harness-beside")
    os.chown(root / FILE, 1, 1)
    files.patch(FILE, [(0, b"ab")])
    files.make_folder("copy")
    files.copy_tree("base/5", "copy")
    for place in (root / "made", root / "folder", root.parent / "harness-beside"):
        assert owner_of(place) == OWNER
    for place in (root / FILE, root / "copy/1259"):
        assert owner_of(place) == (1, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts: run the tests as root")
def test_a_small_disk_belongs_to_the_owner_of_the_root(
    root: Path, files: Files, request: pytest.FixtureRequest
) -> None:
    os.chown(root, *OWNER)
    small = request.getfixturevalue("small")
    files.fill(f"{small}/filler")
    assert owner_of(root / small) == OWNER
    assert owner_of(root / f"{small}/filler") == OWNER


def test_a_small_disk_is_there_while_it_is_mounted(files: Files, small: str) -> None:
    assert files.mounted(small)
    assert files.mode(small) == 0o700
    files.write(f"{small}/file", b"on the small disk")
    with pytest.raises(FaultError, match="unmount it first"):
        files.remove_tree(small)
    assert files.size(f"{small}/file")
    files.unmount(small)
    assert not files.mounted(small)
    assert not files.exists(f"{small}/file")
    files.remove_folder(small)
    assert not files.exists(small)


def test_a_small_disk_is_filled_to_its_last_byte_and_takes_writes_once_the_filler_is_gone(
    files: Files, small: str
) -> None:
    files.write(f"{small}/full", b"")
    assert 0 < files.fill(f"{small}/filler") <= SMALL_BYTES
    with pytest.raises(OSError, match="No space left"):
        files.write(f"{small}/full", b"one byte more needs a page"[:1])
    assert files.fill(f"{small}/filler") == 0
    files.remove(f"{small}/filler")
    files.write(f"{small}/full", bytes(8192))
    assert files.size(f"{small}/full") == 8192


def test_a_disk_that_is_not_a_small_one_is_never_filled(files: Files) -> None:
    for path in ("filler", "base/filler", "no/such/filler"):
        with pytest.raises(FaultError, match="not filled"):
            files.fill(path)
        assert not files.exists(path)


def test_local_mounting_without_root_is_refused_with_the_remedy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = LocalFiles(root)
    files.make_folder("small")
    monkeypatch.setattr("harness.stacks.local_files.os.geteuid", lambda: 1000)
    with pytest.raises(FaultError, match="Run the harness as root"):
        files.mount_small("small", SMALL_BYTES)
    assert not files.mounted("small")


def test_the_neighbours_of_a_local_root_lie_where_its_name_is_and_not_where_it_leads(root: Path) -> None:
    elsewhere = root.parent / "links"
    elsewhere.mkdir()
    (elsewhere / "main").symlink_to(root)
    files = LocalFiles(elsewhere / "main")
    files.make_folder("../harness-beside")
    assert (elsewhere / "harness-beside").is_dir()
    assert files.absolute(FILE) == f"{elsewhere}/main/{FILE}"
    assert files.read(FILE) == b"0123456789"


def test_a_local_root_is_told_in_full_wherever_the_harness_works(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    files = LocalFiles(Path("pgdata"))
    assert files.absolute(FILE) == str(root / FILE)
    with pytest.raises(FaultError, match="not touched"):
        files.read("../other")
