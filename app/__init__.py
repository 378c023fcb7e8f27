"""Composition, persistence and surfaces: everything that remembers or is seen."""
