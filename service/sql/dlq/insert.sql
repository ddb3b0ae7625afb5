INSERT INTO events (seq, key, partition, sqlstate, message, queued_at, event) VALUES (?, ?, ?, ?, ?, ?, ?)
