"""Where a picture goes, looked at before anything is worked out."""

from pathlib import Path

import typer

from app.cli.failure import Failure

SUFFIXES = (".png", ".svg", ".html")


def refuse_target(path: Path) -> None:
    """Refuses a place that no picture can be written to.

    Raises:
        BadParameter: another suffix than a picture has; a usage error.
        Failure: a directory, or a file in a directory that is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        given = f"not {path.suffix}" if path.suffix else "not a file without a suffix"
        raise typer.BadParameter(f"a picture ends in {', '.join(SUFFIXES)}, {given}", param_hint="--plot")
    if path.is_dir():
        raise Failure(f"{path} is a directory; name a file in it, such as {path / 'picture.png'}")
    if not path.parent.is_dir():
        raise Failure(f"{path}: there is no directory {path.parent}; make it first")
