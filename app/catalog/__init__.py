"""Models on sale and published price books."""
