-- The owner of an identity is in the table: what it refused does not stand for it.
SELECT event FROM temp.keys JOIN events USING (seq) WHERE keys.key = ? AND (reason IS NOT 'conflict' OR event = ?)
