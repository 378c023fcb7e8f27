"""The `goodput` command."""
