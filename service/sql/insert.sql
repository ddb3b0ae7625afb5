INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category,
                          event_action, event_outcome, correlation_id, event_data)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (event_id, event_date) DO NOTHING
RETURNING true
