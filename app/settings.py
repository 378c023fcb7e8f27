"""Every setting of the market, its default and its meaning; read once from the environment (``GOODPUT_*``)."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

IN_PROCESS: Final = "memory://"
"""The ``GOODPUT_REDIS_URL`` of a market that lives in one process and keeps its leases there."""

SOCKET_PATH_BYTES_MAX: Final = 100
"""The longest path of a unix socket that every client takes; the kernel takes 107."""


class Settings(BaseSettings):
    """Settings from ``GOODPUT_*`` variables; unknown ones are refused where they come from a file.

    Each has a default that works for the embedded market on one machine.
    """

    model_config = SettingsConfigDict(env_prefix="GOODPUT_", env_file=".env", extra="ignore", frozen=True)

    data_dir: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    database_url: str = Field(default="", description="empty: SQLite in data_dir; else postgresql://…")
    redis_url: str = Field(default="", description="empty: an embedded server on a socket in data_dir; else redis://…")
    engine: Literal["local", "none"] = "local"
    secret_key: SecretStr = Field(default=SecretStr(""), description="empty: made on first start, kept in data_dir")
    secret_keys_former: SecretStr = Field(
        default=SecretStr(""), description="with commas; what they sealed can still be opened"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # Limits. Every queue, loop, page, timeout and body has one.
    body_bytes_max: int = Field(default=10_000_000, ge=1)
    output_tokens_default: int = Field(default=1024, ge=1, description="held first when a request names no maximum")
    hold_step_tokens: int = Field(default=1024, ge=1)
    hold_lease_s: float = Field(default=60.0, gt=0, description="a hold not heart-beaten for so long is void")
    lease_ttl_s: float = Field(
        default=15.0, gt=0, description="a capacity lease not heart-beaten for so long is reaped"
    )
    heartbeat_s: float = Field(default=5.0, gt=0)
    writer_queue_max: int = Field(default=4096, ge=1)
    writer_batch_max: int = Field(default=256, ge=1)
    dispatch_queue_max: int = Field(default=512, ge=1)
    attempts_max: int = Field(default=3, ge=1, description="offers tried for one request before its first content")
    retry_share: float = Field(default=0.10, ge=0, le=1, description="of all requests may be tried again, and ten more")
    hedge_share: float = Field(
        default=0.02, ge=0, le=1, description="of all requests may get a second attempt; 0: none"
    )
    explore_share: float = Field(default=0.01, ge=0, le=1, description="of lesser requests try another offer first")
    affinity_load_max: float = Field(default=0.5, ge=0, le=1, description="above it no prompt goes back to its cache")
    margin_step: float = Field(default=0.01, ge=0, le=1, description="how far one answer moves its tier's headroom")
    stream_inside: Literal["premium", "all", "none"] = Field(
        default="premium", description="of these tiers backends stream also what customers want in one body"
    )
    explain_share: float = Field(default=0.01, ge=0, le=1, description="of all placements are explained in full")
    client_stall_s_max: float = Field(
        default=60.0, gt=0, description="a reader that takes nothing for so long has hung up"
    )
    drain_s_max: float = Field(default=30.0, gt=0)
    connect_s_max: float = Field(default=5.0, gt=0)
    first_token_s_max: float = Field(default=60.0, gt=0)
    token_gap_s_max: float = Field(default=30.0, gt=0)
    answer_s_max: float = Field(default=900.0, gt=0)
    engine_measure_s_max: float = Field(
        default=40.0, gt=0, le=60, description="the local engine's measurement on its first start"
    )
    flex_window_s: float = Field(default=900.0, gt=0, description="bulk's synchronous promise")
    quote_ttl_s: float = Field(default=300.0, gt=0)
    rpm_default: int = Field(default=6_000, ge=1)
    tpm_default: int = Field(default=10_000_000, ge=1)
    concurrency_default: int = Field(default=512, ge=1)
    page_rows_max: int = Field(default=100, ge=1)
    timeline_keep_days: int = Field(default=35, ge=1)
    key_cache_s: float = Field(default=2.0, gt=0, description="how long a revoked key may still work")

    # Economics of the market's own machine and of derivation, all documented in docs/pricing.md.
    ownership: Literal["hyperscaler", "neocloud", "rental"] = "hyperscaler"
    utilisation: float = Field(default=0.6, gt=0, le=1)
    margin: float = Field(default=0.4, ge=0, description="cost-plus margin on effective cost at the standard tier")
    reprice: Literal["off", "propose", "publish"] = Field(
        default="propose", description="what the repricer may do: open a draft, or publish within its limits"
    )
    count_emulated: bool = Field(default=True, description="the return loop counts emulated answers too, and says so")
    metered_answers_max: int = Field(default=500_000, ge=1, description="of one day, read by the return loop")
    plan_days: int = Field(default=7, ge=1, le=90, description="of demand that the planner looks back on")
    local_power_w: float = Field(default=65.0, gt=0)
    local_electricity_usd_kwh: float = Field(default=0.15, ge=0)
    local_purchase_usd: float = Field(default=900.0, ge=0)
    local_life_years: float = Field(default=4.0, gt=0)

    @property
    def former_secrets(self) -> tuple[str, ...]:
        """The secret keys before this one, newest first as they were given."""
        return tuple(each.strip() for each in self.secret_keys_former.get_secret_value().split(",") if each.strip())

    @property
    def database_dsn(self) -> str:
        """SQLAlchemy's async URL of the database in force."""
        if not self.database_url:
            return f"sqlite+aiosqlite:///{self.data_dir / 'goodput.sqlite3'}"
        scheme, _, rest = self.database_url.partition("://")
        return f"postgresql+asyncpg://{rest}" if scheme in {"postgres", "postgresql"} else self.database_url

    @property
    def redis_socket(self) -> Path:
        """Where the embedded server listens: in data_dir, or in a folder of our own where that path is too long."""
        socket = self.data_dir.resolve() / "redis.sock"
        path = os.fsencode(socket)
        if len(path) <= SOCKET_PATH_BYTES_MAX:
            return socket
        return Path(tempfile.gettempdir()) / f"goodput-{hashlib.sha256(path).hexdigest()[:16]}" / "redis.sock"

    @property
    def redis_dsn(self) -> str:
        """The Redis URL in force."""
        return self.redis_url or f"unix://{quote(str(self.redis_socket))}"
