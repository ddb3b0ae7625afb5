INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category,
                          event_action, event_outcome, correlation_id, event_data)
SELECT * FROM unnest(%s::uuid[], %s::date[], %s::timestamptz[], %s::text[], %s::text[], %s::text[],
                     %s::text[], %s::text[], %s::text[], %s::jsonb[])
ON CONFLICT (event_id, event_date) DO NOTHING
RETURNING event_id::text, event_date::text
