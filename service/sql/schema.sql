CREATE TABLE IF NOT EXISTS audit_events (
    event_id        uuid        NOT NULL,
    event_date      date        NOT NULL,
    event_timestamp timestamptz NOT NULL,
    version         text        NOT NULL,
    event_type      text        NOT NULL,
    event_category  text        NOT NULL,
    event_action    text        NOT NULL,
    event_outcome   text        NOT NULL,
    correlation_id  text        NOT NULL,
    event_data      jsonb       NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, event_date)
) PARTITION BY RANGE (event_date);
CREATE TABLE IF NOT EXISTS audit_partitions (
    month             text        PRIMARY KEY,
    first_attached_at timestamptz NOT NULL DEFAULT now()
)
