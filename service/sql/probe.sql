-- A harmless row through the same path as a real one, and never kept.
BEGIN;
INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category,
                          event_action, event_outcome, correlation_id, event_data)
VALUES (gen_random_uuid(), '{day}', '{day} 00:00:00+00', '1.0', 'probe', 'probe', 'probe', 'success', 'probe',
        '{{}}');
ROLLBACK
