"""The web console of operators."""
