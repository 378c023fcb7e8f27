"""What others measured or modelled, read into profiles."""
