PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
-- A long queue drains several times as fast when its index stays in memory and checkpoints are few.
PRAGMA cache_size=-32768;
PRAGMA wal_autocheckpoint=8000;
CREATE TABLE IF NOT EXISTS events (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The first digits of the event's id, as a number: an index that is a quarter of one of ids and dates.
    key       INTEGER NOT NULL,
    partition TEXT NOT NULL CHECK (partition GLOB '[0-9][0-9][0-9][0-9]_[01][0-9]'),
    state     TEXT NOT NULL DEFAULT 'pending',
    reason    TEXT,
    attempts  INTEGER NOT NULL DEFAULT 0,
    sqlstate  TEXT,
    message   TEXT NOT NULL,
    queued_at REAL NOT NULL,
    due_at    REAL NOT NULL DEFAULT 0,
    event     TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_key ON events (key);
CREATE INDEX IF NOT EXISTS events_by_state ON events (state, partition, seq);
