"""Customers' own models: asked for, approved, served, and seen by their customer alone."""
