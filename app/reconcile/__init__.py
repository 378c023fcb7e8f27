"""Reconciliation: what must agree, does; drift is named."""
