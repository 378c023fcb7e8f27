"""One change per file; a file that has landed is never edited."""
