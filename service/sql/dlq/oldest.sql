SELECT min((SELECT queued_at FROM events WHERE state = 'pending' AND partition = name ORDER BY seq LIMIT 1))
FROM counts WHERE state = 'pending' AND n > 0
