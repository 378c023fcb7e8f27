"""One file per kind of backend: its name is the kind's, and its ``build(spec)`` makes the provider."""
