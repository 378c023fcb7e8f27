"""Effects that leave after commit (outbox), events that arrive (inbox)."""
