"""A time-out that somebody else forces upon the service's sessions.

ALTER ROLE, ALTER DATABASE and ALTER SYSTEM all lose against a client that sets ``statement_timeout`` among its
connection options, as the service does.  What wins is a SET inside the session, here by a trigger of the table.  The
service is expected to answer 201 for what is stored in time, 202 for the rest, and to be well once new sessions are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import PROBE_DEADLINE_SECONDS, TABLE, cut_after, insert_canary
from ..stacks.base import Capability, Environment
from ._login import judged, open_login, refusal_of
from ._sql import PARENT, admin, attached, failing_as, in_transaction
from .sessions import end_present_sessions, sessions_radius

_NAME = "harness_forces_statement_timeout"
_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_user = {role} THEN PERFORM set_config('statement_timeout', {value}, false); END IF;
    RETURN NULL;
END $$
"""
_TRIGGER = "CREATE TRIGGER {trigger} BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
_PADDING_BYTES = 4_000_000
"""An insert of this size takes tens of milliseconds."""


@FAULTS.register("force-statement-timeout")
@dataclass(frozen=True, kw_only=True)
class ForceStatementTimeout:
    """Sets statement_timeout to ``timeout_ms`` in each session of the service, with the first insert it makes.

    Effect: 57014 ``canceling statement due to statement timeout`` for each later statement of that session that takes
    longer; those that are quicker succeed.  Heal ends the sessions, since they keep what was set.  Versions: 15 to
    18.  Radius: every month, partial.
    """

    name: ClassVar[str] = "force-statement-timeout"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = False
    timeout_ms: int = 1

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a time-out that a large insert could not exceed."""
        if not 1 <= self.timeout_ms <= 5:
            raise UsageError(f"{self.name} needs a timeout_ms from 1 to 5, not {self.timeout_ms}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month: some statements are quick enough."""
        return sessions_radius(Write.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Make the trigger in one transaction."""
        with failing_as(FaultError, "force a statement time-out"):
            async with admin(scene) as connection:
                scene.ledger.save("forcing", True)
                await in_transaction(connection, lambda: self._make(scene, connection), what="make the trigger")

    async def _make(self, scene: Scene, connection: AsyncConnection) -> None:
        role = sql.Literal(scene.environment.database.service_role)
        name, value = sql.Identifier(_NAME), sql.Literal(str(self.timeout_ms))
        await connection.execute(sql.SQL(_FUNCTION).format(function=name, role=role, value=value))
        await connection.execute(sql.SQL(_TRIGGER).format(trigger=name, function=name, table=PARENT))

    async def confirm(self, scene: Scene) -> str:
        """A session of the service that has made one insert gets 57014 for a large one."""
        async with admin(scene) as other:
            months = sorted(await attached(other))
        if not months:
            raise FaultNotConfirmed("There is no attached partition, so no insert can be timed out.")
        connection = await open_login(scene)
        try:
            with cut_after(connection, PROBE_DEADLINE_SECONDS):
                await insert_canary(connection, months[0].first_day)
                await insert_canary(connection, months[0].first_day, padding_bytes=_PADDING_BYTES)
        except (psycopg.Error, OSError, TimeoutError) as error:
            seen = refusal_of(error, 0.0)
            if seen.sqlstate != "57014":
                raise FaultNotConfirmed(f"A large insert was {seen}, where 57014 was due.") from error
            return f"second insert of a session: {seen}"
        finally:
            await connection.close()
        raise FaultNotConfirmed("The second, large insert of a session of the service was accepted; 57014 was due.")

    async def heal(self, scene: Scene) -> None:
        """Drop trigger and function, and end the sessions that keep the setting."""
        if not scene.ledger.load("forcing"):
            return
        with failing_as(HealFailed, "take the forced statement time-out away"):
            async with admin(scene) as connection:
                role = scene.environment.database.service_role

                async def drop() -> bool:
                    found = await connection.execute(
                        "SELECT 1 FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND tgname = %s", (TABLE, _NAME)
                    )
                    if await found.fetchone() is None:
                        return False
                    name = sql.Identifier(_NAME)
                    await connection.execute(sql.SQL("DROP TRIGGER {} ON {}").format(name, PARENT))
                    await connection.execute(sql.SQL("DROP FUNCTION {}()").format(name))
                    return True

                if await in_transaction(connection, drop, what="drop the trigger"):
                    await end_present_sessions(connection, role)

    async def probe(self, scene: Scene) -> bool:
        """An insert of the service is judged."""
        return await judged(scene)
