"""How token times follow from a profile and a load; pure."""
