"""What was delivered, once and only once."""
