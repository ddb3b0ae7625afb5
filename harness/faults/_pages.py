"""Pages of a relation on disk: save them, damage them, tell the damaged ones, put them back, evict the buffers.

The damage is the page header and nothing else: bounds that cannot be, so that PostgreSQL refuses the page with data
checksums on or off, and a pattern by which heal knows a page that it still has to repair from one that somebody
has written since.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import AsyncConnection

from .._wait import wait_until
from ..errors import FaultError
from ..fault import Scene

PAGE_BYTES = 8192
HEADER_BYTES = 24
SEGMENT_PAGES = 131_072
"""Pages in one file of 1 GiB, PostgreSQL's default segment size."""

DAMAGE = b"\xde\xad\xbe\xef" * (HEADER_BYTES // 4)


@dataclass(frozen=True)
class Relation:
    """One heap or index and where its first file lies, relative to the data directory."""

    oid: int
    schema: str
    name: str
    path: str

    def to_json(self) -> list[str | int]:
        """Return it for the ledger."""
        return [self.oid, self.schema, self.name, self.path]


async def relation_of(connection: AsyncConnection, oid: int) -> Relation:
    """Look a relation up by oid; raises :class:`FaultError` when it has no file."""
    cursor = await connection.execute(
        "SELECT c.oid, n.nspname, c.relname, pg_relation_filepath(c.oid) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s",
        (oid,),
    )
    row = await cursor.fetchone()
    if row is None or row[3] is None:
        raise FaultError(f"Relation {oid} has no file on disk, so its pages cannot be damaged.")
    return Relation(*row)


def count_pages(data_dir: Path, relation: Relation) -> int:
    """Count the pages on disk, over all segments."""
    total = 0
    for number in range(1_000_000):
        file = _segment(data_dir, relation, number)
        if not file.exists():
            return total
        total += file.stat().st_size // PAGE_BYTES
    return total


def read_pages(data_dir: Path, relation: Relation, blocks: Sequence[int]) -> bytes:
    """Return the bytes of ``blocks``, one page after the other."""
    with _segments(data_dir, relation, blocks) as places:
        return b"".join(os.pread(descriptor, PAGE_BYTES, offset) for descriptor, offset in places)


def damage_pages(data_dir: Path, relation: Relation, blocks: Sequence[int]) -> None:
    """Overwrite the headers of ``blocks``."""
    with _segments(data_dir, relation, blocks) as places:
        for descriptor, offset in places:
            os.pwrite(descriptor, DAMAGE, offset)


def write_pages(data_dir: Path, relation: Relation, blocks: Sequence[int], pages: bytes) -> None:
    """Overwrite ``blocks`` with ``pages``, one after the other."""
    with _segments(data_dir, relation, blocks) as places:
        for index, (descriptor, offset) in enumerate(places):
            os.pwrite(descriptor, pages[index * PAGE_BYTES : (index + 1) * PAGE_BYTES], offset)


def restore_pages(
    data_dir: Path, relation: Relation, blocks: Sequence[int], saved: bytes, damaged: bytes | None = None
) -> list[int]:
    """Write the saved bytes over those of ``blocks`` that are still damaged, and return which those were.

    A page without the damage (the header of :func:`damage_pages`, or the whole pages given as ``damaged``) was never
    damaged, or was written since: its saved bytes would be stale.
    """
    restored = []
    with _segments(data_dir, relation, blocks) as places:
        for index, (descriptor, offset) in enumerate(places):
            bad = DAMAGE if damaged is None else damaged[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]
            if os.pread(descriptor, len(bad), offset) == bad:
                os.pwrite(descriptor, saved[index * PAGE_BYTES : (index + 1) * PAGE_BYTES], offset)
                os.fsync(descriptor)
                restored.append(blocks[index])
    return restored


async def evict(scene: Scene, connection: AsyncConnection, relation: Relation) -> None:
    """Write the relation's dirty buffers out and drop all of them, under the caller's lock.

    A page that the checkpointer has pinned at that moment is skipped, so it is asked until none is left.
    """
    if scene.environment.database.version_num >= 180000:
        left = "SELECT buffers_skipped FROM pg_buffercache_evict_relation(%s::oid::regclass)"
    else:
        left = (
            "SELECT count(*) FILTER (WHERE NOT gone) FROM (SELECT pg_buffercache_evict(bufferid) AS gone"
            " FROM pg_buffercache WHERE relfilenode = pg_relation_filenode(%s::oid::regclass) AND reldatabase ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())) AS tried"
        )

    async def none_left() -> bool:
        row = await (await connection.execute(left, (relation.oid,))).fetchone()
        return row is not None and row[0] == 0

    await wait_until(none_left, what=f"the buffers of {relation.name} to be evicted", deadline_seconds=5.0)


async def close_descriptors(connection: AsyncConnection, relation: Relation) -> None:
    """Have every backend close its descriptors of the relation, once the caller's transaction commits.

    An update of its catalog row that changes nothing is an invalidation; a backend that meets one before it gets its
    lock forgets the relation, descriptors included.
    """
    await connection.execute("UPDATE pg_class SET relname = relname WHERE oid = %s", (relation.oid,))


def _segment(data_dir: Path, relation: Relation, number: int) -> Path:
    return data_dir / (f"{relation.path}.{number}" if number else relation.path)


@contextmanager
def _segments(data_dir: Path, relation: Relation, blocks: Iterable[int]) -> Iterator[Iterator[tuple[int, int]]]:
    opened: dict[int, int] = {}

    def places() -> Iterator[tuple[int, int]]:
        for block in blocks:
            number, page = divmod(block, SEGMENT_PAGES)
            if number not in opened:
                opened[number] = os.open(_segment(data_dir, relation, number), os.O_RDWR)
            yield opened[number], page * PAGE_BYTES

    try:
        yield places()
    finally:
        for descriptor in opened.values():
            os.close(descriptor)
