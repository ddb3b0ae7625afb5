-- The bound expression holds no column, so it is printed without the table's OID and so without its lock.
SELECT pg_get_expr(c.relpartbound, 0)
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass('audit_events') AND NOT i.inhdetachpending
