"""``harness mark`` on a real database: the marker is made once and given free, or it is said why it cannot be."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.targets.model import load_target
from tests.integration.commands import ROOT
from tests.integration.faults_lab import TARGET


@dataclass(frozen=True)
class Owner:
    """Whoever may give a database up: the way to it as the command line has it, and whole, with the password."""

    url: str
    whole: str
    password: str

    def harness(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the command; the password goes by the environment."""
        known = {"PYTHONPATH": str(ROOT), "PGPASSWORD": self.password, "PGPASSFILE": os.devnull}
        return subprocess.run(
            [sys.executable, "-m", "harness", "mark", *arguments],
            cwd=ROOT,
            env={**os.environ, **known, **extra},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def markers(self) -> list[tuple[str, str]]:
        """Token and run of each row of the marker table."""
        with psycopg.connect(self.whole) as link:
            return [(str(token), str(run)) for token, run in link.execute("SELECT token, run FROM harness_target")]


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    """The owner of a database that nobody has marked."""
    folder = Path(tempfile.mkdtemp(prefix="mark-test-", dir="/tmp"))
    folder.chmod(0o755)
    shutil.copy(Path(__file__).with_name("silent_service.py"), folder)
    (folder / "silent.toml").write_text(TARGET)
    context = EmbeddedStack(EmbeddedOptions()).environment(
        load_target(folder / "silent.toml"), name="mark", artifacts=folder / "artifacts", environment_overrides={}
    )
    with asyncio.Runner() as runner:
        environment = runner.run(context.__aenter__())
        whole = environment.database.admin_conninfo
        parts = {key: str(value) for key, value in psycopg.conninfo.conninfo_to_dict(whole).items() if value}
        password = parts.pop("password")
        yield Owner(psycopg.conninfo.make_conninfo("", **parts), whole, password)
        runner.run(context.__aexit__(None, None, None))
    shutil.rmtree(folder)


def test_a_database_is_marked_once_and_given_free_again(owner: Owner) -> None:
    for _ in range(2):
        done = owner.harness("--database-url", owner.url, "--token", "it's mine")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "the database is marked: faults may act on it\n"
        assert owner.markers() == [("it's mine", "")]
    with psycopg.connect(owner.whole) as link:
        link.execute("UPDATE harness_target SET run = 'lost', ledger = '/gone'")
    again = owner.harness("--database-url", owner.url, "--token", "it's mine")
    assert again.returncode == 0
    assert owner.markers() == [("it's mine", "lost")], "to mark it takes it from no run"
    planned = owner.harness("--database-url", owner.url, "--token", "it's mine", "--release", "--dry-run")
    assert (planned.returncode, planned.stdout.split()[0]) == (0, "UPDATE")
    assert owner.markers() == [("it's mine", "lost")]
    freed = owner.harness("--database-url", owner.url, "--token", "it's mine", "--release")
    assert (freed.returncode, freed.stdout) == (0, "the database is free again\n")
    assert owner.markers() == [("it's mine", "")]


@pytest.mark.parametrize(
    ("changed", "extra", "said"),
    [
        ({"dbname": "nowhere"}, {}, 'database "nowhere" does not exist'),
        ({}, {"PGPASSWORD": "hunter2"}, "password authentication failed"),
        ({"user": "nobody"}, {}, "password authentication failed"),
    ],
)
def test_what_cannot_be_marked_is_2_with_the_reason_and_without_a_password(
    owner: Owner, changed: dict[str, str], extra: dict[str, str], said: str
) -> None:
    url = psycopg.conninfo.make_conninfo(owner.url, **changed)
    refused = owner.harness("--database-url", url, "--token", "t", **extra)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "harness: Could not mark the database: " in refused.stderr
    assert said in refused.stderr
    assert "Check database_url" in refused.stderr
    assert not [word for word in (owner.password, "hunter2", "Traceback") if word in refused.stderr]


def test_a_role_that_may_make_no_table_is_refused(owner: Owner) -> None:
    with psycopg.connect(owner.whole, autocommit=True) as link:
        link.execute("CREATE ROLE guest LOGIN PASSWORD 'guest-of-the-test'")
        try:
            url = psycopg.conninfo.make_conninfo(owner.url, user="guest")
            refused = owner.harness("--database-url", url, "--token", "t", PGPASSWORD="guest-of-the-test")
        finally:
            link.execute("DROP ROLE guest")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "permission denied" in refused.stderr
