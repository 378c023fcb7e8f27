"""The outside world that makes tokens: one port, one wire, one error tree."""
