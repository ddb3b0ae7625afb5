-- Both dates bound the plan to one month, whatever becomes of the others.
SELECT event_id::text, event_timestamp, version, event_type, event_category,
       event_action, event_outcome, correlation_id, event_data::text
FROM audit_events
WHERE event_date >= %(first)s::date AND event_date < (%(first)s::date + interval '1 month')::date
  AND event_timestamp >= %(from)s::timestamptz AND event_timestamp < %(to)s::timestamptz
  AND event_id = coalesce(%(event_id)s::uuid, event_id)
  AND correlation_id = coalesce(%(correlation_id)s::text, correlation_id)
ORDER BY event_timestamp, event_id
LIMIT %(limit)s + 1
