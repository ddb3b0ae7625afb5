-- PostgreSQL takes the events apart: exact numbers, and one parameter however many they are.
INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category,
                          event_action, event_outcome, correlation_id, event_data)
SELECT event_id, (event_timestamp AT TIME ZONE 'UTC')::date, event_timestamp, version, event_type, event_category,
       event_action, event_outcome, correlation_id, event_data
FROM jsonb_to_recordset(%s::jsonb) AS e (event_id uuid, event_timestamp timestamptz, version text, event_type text,
                                       event_category text, event_action text, event_outcome text,
                                       correlation_id text, event_data jsonb)
ON CONFLICT (event_id, event_date) DO NOTHING
RETURNING event_id::text, event_date::text
