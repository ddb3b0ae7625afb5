-- For each month: whether it was ever attached, its first and last day that is not attached, whether any day is.
-- A bound expression holds no column, so it is printed without the table's OID and so without its lock.
WITH bounds AS (
    SELECT regexp_match(pg_get_expr(c.relpartbound, 0), '^FOR VALUES FROM \((.+)\) TO \((.+)\)$') AS ends
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass('audit_events') AND NOT i.inhdetachpending
), ranges AS (
    SELECT CASE ends[1] WHEN 'MINVALUE' THEN '-infinity' ELSE trim('''' FROM ends[1])::date END AS low,
           CASE ends[2] WHEN 'MAXVALUE' THEN 'infinity' ELSE trim('''' FROM ends[2])::date END AS high
    FROM bounds
    WHERE ends IS NOT NULL
), attached AS (
    SELECT coalesce(range_agg(daterange(low, high)), '{}') AS days
    FROM ranges
), months AS (
    SELECT month FROM audit_partitions
    UNION SELECT unnest(%s::text[])
    UNION SELECT to_char(low, 'YYYY_MM') FROM ranges WHERE isfinite(low)
)
SELECT month, EXISTS (SELECT FROM audit_partitions p WHERE p.month = m.month),
       lower(missing), upper(missing) - 1, missing <> whole
FROM months m
CROSS JOIN attached
CROSS JOIN LATERAL (SELECT to_date(month, 'YYYY_MM') AS first) f
CROSS JOIN LATERAL (SELECT datemultirange(daterange(first, (first + interval '1 month')::date)) AS whole) w
CROSS JOIN LATERAL (SELECT whole - days AS missing) d
ORDER BY month
