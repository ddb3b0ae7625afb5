-- Know the keys of those who are in the queue, and no other.
DELETE FROM keys;
INSERT INTO keys SELECT key, seq FROM events;
UPDATE counts SET n = 0 WHERE state = 'left';
