-- One row, and so one return to Python: between rows the thread would wait for the event loop's, again and again.
-- An event is a line, so nothing needs an escape; what somebody else wrote into the file is made one.
SELECT group_concat(replace(CAST(event AS TEXT), char(10), ' '), char(10)),
       json_group_array(json_array(seq, partition, state, attempts, sqlstate, message, queued_at, due_at))
FROM (SELECT * FROM events WHERE {} LIMIT ?)
