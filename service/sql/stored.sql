SELECT event_id::text, event_date::text, event_timestamp, version, event_type, event_category,
       event_action, event_outcome, correlation_id, event_data::text
FROM audit_events
WHERE event_date >= %(first)s::date
  AND event_date < (%(first)s::date + interval '1 month')::date
  AND (event_id, event_date) IN (SELECT * FROM unnest(%(ids)s::uuid[], %(dates)s::date[]))
