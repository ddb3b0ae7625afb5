"""The parts that the writer, the drainer and the routes share."""

from dataclasses import dataclass

from .config import Config
from .dlq.sqlite import SqliteQueue
from .logs import Log
from .metrics import Metrics
from .partitions import Maintenance, Months
from .pool import Database


@dataclass(frozen=True)
class Parts:
    """One of each, made by the application."""

    config: Config
    log: Log
    metrics: Metrics
    database: Database
    months: Months
    maintenance: Maintenance
    queue: SqliteQueue
