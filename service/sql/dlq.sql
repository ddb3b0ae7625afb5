PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
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
-- How many events are pending for each partition, and dead for each reason: kept by the same transactions.
CREATE TABLE IF NOT EXISTS counts (
    state  TEXT NOT NULL,
    name   TEXT NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (state, name)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS count_insert AFTER INSERT ON events BEGIN
    INSERT INTO counts VALUES ('pending', NEW.partition, 1) ON CONFLICT DO UPDATE SET events = events + 1;
END;
CREATE TRIGGER IF NOT EXISTS count_delete AFTER DELETE ON events BEGIN
    UPDATE counts SET events = events - 1 WHERE state = OLD.state AND name = coalesce(OLD.reason, OLD.partition);
END;
CREATE TRIGGER IF NOT EXISTS count_death AFTER UPDATE OF state ON events WHEN NEW.state = 'dead' BEGIN
    UPDATE counts SET events = events - 1 WHERE state = 'pending' AND name = NEW.partition;
    INSERT INTO counts VALUES ('dead', NEW.reason, 1) ON CONFLICT DO UPDATE SET events = events + 1;
END;
