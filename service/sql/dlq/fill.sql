-- Know the keys of those who are in the queue, and no other.
DELETE FROM keys;
INSERT INTO keys SELECT key, seq FROM events ORDER BY key;
UPDATE counts SET n = 0 WHERE state = 'left';
