CREATE TABLE IF NOT EXISTS events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id   TEXT NOT NULL,
    event_date TEXT NOT NULL,
    partition  TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'pending',
    reason     TEXT,
    attempts   INTEGER NOT NULL DEFAULT 0,
    sqlstate   TEXT,
    message    TEXT NOT NULL,
    queued_at  REAL NOT NULL,
    due_at     REAL NOT NULL DEFAULT 0,
    event      TEXT NOT NULL,
    UNIQUE (event_id, event_date)
);
CREATE INDEX IF NOT EXISTS events_by_state ON events (state, partition, seq);
