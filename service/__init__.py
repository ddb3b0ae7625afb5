"""The reference service: durable audit-event writes into a monthly partitioned table."""
