"""The folder in which an embedded market lives: checked before use, and held by one market at a time."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.cli.failure import Failure

FREE_BYTES_MIN: Final = 256 * 1024 * 1024
LOG_BYTES_MAX: Final = 10_000_000
_MIB: Final = 1024 * 1024


@contextmanager
def held_data_dir(path: Path) -> Generator[Path]:
    """Makes and checks the folder, and keeps every other market out of it while the block runs.

    Raises:
        Failure: it cannot be made or written, its disk is full, or another market holds it; the message says which.
    """
    folder = _writable(path)
    lock_file = folder / "lock"
    try:
        lock = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Failure(f"cannot open {lock_file}: {error.strerror}. Choose another --data-dir.") from error
    try:
        _hold(lock, folder)
        yield folder
    finally:
        os.close(lock)


def secret_key(folder: Path) -> str:
    """The market's secret: made once, readable by its user alone.

    Raises:
        Failure: it cannot be read or written, or is empty.
    """
    file = folder / "secret_key"
    try:
        if not file.exists():
            write_private(file, secrets.token_hex(32))
        key = file.read_text().strip()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}.") from error
    if not key:
        raise Failure(f"{file} is empty. Restore it, or remove it to sign everybody out and make a new one.")
    return key


def write_private(file: Path, text: str) -> None:
    """Writes a file that only its user may read, whole or not at all."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def put_aside(log: Path) -> None:
    """Starts a log that has grown large anew; one earlier one is kept."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def _writable(path: Path) -> Path:
    folder = path.expanduser().resolve()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"x")
        probe.unlink()
        next(folder.iterdir(), None)
    except OSError as error:
        raise Failure(
            f"cannot use {folder} as the data directory: {error.strerror}. Choose another --data-dir, or give this "
            "user the right to read and write there."
        ) from error
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise Failure(
            f"only {free // _MIB} MiB are free where {folder} lies; the market needs {FREE_BYTES_MIN // _MIB} MiB. "
            "Free some, or choose another --data-dir."
        )
    return folder


def _hold(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise Failure(
            f"another market (process {holder}) runs in {folder}. Stop it, or choose another --data-dir."
        ) from error
    except OSError as error:
        raise Failure(f"cannot lock {folder}: {error.strerror}. Choose a --data-dir on a local disk.") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
