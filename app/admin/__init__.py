"""The JSON API of operators."""
