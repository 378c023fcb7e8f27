"""Workload, engine, report: revenue on a virtual clock."""
