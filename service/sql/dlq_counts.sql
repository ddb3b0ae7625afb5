SELECT state, name, events,
       (SELECT queued_at FROM events e WHERE e.state = c.state AND e.partition = c.name ORDER BY seq LIMIT 1)
FROM counts c
WHERE events > 0
