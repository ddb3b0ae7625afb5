PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
PRAGMA temp_store=MEMORY;
-- A long queue drains several times as fast when its index stays in memory and checkpoints are few.
PRAGMA cache_size=-16384;
PRAGMA wal_autocheckpoint=8000;
CREATE TABLE IF NOT EXISTS events (
    -- The month and a count of arrivals: what is drained together lies together, so that few pages change.
    seq       INTEGER PRIMARY KEY,
    -- The first digits of the event's id, as a number.
    key       INTEGER NOT NULL,
    partition TEXT NOT NULL CHECK (
        partition GLOB '[0-9][0-9][0-9][0-9]_0[1-9]' OR partition GLOB '[0-9][0-9][0-9][0-9]_1[0-2]'
    ),
    state     TEXT NOT NULL DEFAULT 'pending',
    reason    TEXT,
    attempts  INTEGER NOT NULL DEFAULT 0,
    sqlstate  TEXT,
    message   TEXT NOT NULL,
    queued_at REAL NOT NULL,
    due_at    REAL NOT NULL DEFAULT 0,
    event     TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_state ON events (state, partition, seq, key);
-- Keys come in no order: an index of them in the file would cost a changed page for each event that leaves. This one
-- keeps those who left until it is filled anew.
CREATE TEMP TABLE keys (key INTEGER, seq INTEGER, PRIMARY KEY (key, seq)) WITHOUT ROWID;
CREATE TEMP TABLE counts (state TEXT, name TEXT, n INTEGER, PRIMARY KEY (state, name)) WITHOUT ROWID;
INSERT INTO counts SELECT state, partition, count(*) FROM events WHERE state = 'pending' GROUP BY partition;
INSERT INTO counts SELECT state, coalesce(reason, 'poison'), count(*) FROM events WHERE state = 'dead' GROUP BY 2;
INSERT INTO counts VALUES ('left', '', 0);
CREATE TEMP TRIGGER arrives AFTER INSERT ON events BEGIN
    INSERT INTO keys VALUES (new.key, new.seq);
    INSERT INTO counts VALUES (new.state, new.partition, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TEMP TRIGGER leaves AFTER DELETE ON events BEGIN
    UPDATE counts SET n = n - 1 WHERE state = old.state AND name = old.partition;
    UPDATE counts SET n = n + 1 WHERE state = 'left';
END;
CREATE TEMP TRIGGER dies AFTER UPDATE OF state ON events WHEN old.state <> new.state BEGIN
    INSERT INTO counts VALUES (new.state, coalesce(new.reason, 'poison'), 1) ON CONFLICT DO UPDATE SET n = n + 1;
    UPDATE counts SET n = n - 1 WHERE state = old.state AND name = old.partition;
END;
