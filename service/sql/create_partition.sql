-- Standalone first, then attached: CREATE TABLE ... PARTITION OF would lock the parent against every month.
CREATE TABLE audit_events_{month} (LIKE audit_events INCLUDING ALL);
ALTER TABLE audit_events ATTACH PARTITION audit_events_{month}
    FOR VALUES FROM ('{first}') TO (('{first}'::date + interval '1 month')::date);
INSERT INTO audit_partitions (month) VALUES ('{month}') ON CONFLICT DO NOTHING;
