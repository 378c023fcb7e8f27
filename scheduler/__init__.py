"""The decisions: which provider runs a request, when, or not at all. Pure: no clock, no I/O."""
