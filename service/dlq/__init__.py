"""The dead letter queue: where an accepted event waits until its month can take it."""
