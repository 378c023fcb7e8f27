"""What a command tells its user when it cannot go on."""


class Failure(Exception):
    """The command ends with a non-zero status; the message says what happened, the numbers, and what to do."""
