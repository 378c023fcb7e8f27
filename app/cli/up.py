"""``goodput up``: the embedded market in one command; what can be refused is refused before anything heavy loads."""

import asyncio
from dataclasses import dataclass
from typing import Any

from app import logs
from app.cli.data_dir import held_data_dir, put_aside, secret_key
from app.cli.failure import Failure
from app.cli.server import listening_socket
from app.cli.terminal import note
from app.settings import IN_PROCESS, Settings


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How to open the market.

    Attributes:
        as_json: say that it is ready in one JSON line, for a program.
        is_demo: seed a demo market where there is none yet.
    """

    as_json: bool = False
    is_demo: bool = True


def run_up(settings: Settings, options: UpOptions) -> None:
    """Opens the market and keeps it open until told to stop.

    Raises:
        Failure: it cannot open, or a part of it died for good; the message says which and why.
    """
    if settings.redis_url == IN_PROCESS:
        raise Failure(
            f"GOODPUT_REDIS_URL={IN_PROCESS} cannot carry background work; leave it empty for a server of ours."
        )
    with held_data_dir(settings.data_dir) as folder, listening_socket(settings) as listener:
        changes: dict[str, Any] = {"data_dir": folder, "port": listener.getsockname()[1]}
        if not settings.secret_key.get_secret_value():
            changes["secret_key"] = secret_key(folder)
        market_settings = Settings(**(settings.model_dump() | changes))
        log_file = folder / "logs" / "market.log"
        log_file.parent.mkdir(exist_ok=True)
        put_aside(log_file)
        with log_file.open("a", buffering=1) as log:
            logs.configure(settings.log_level, as_json=True, stream=log)
            note("Opening the market.")
            import uvloop

            from app.cli.market_run import MarketRun

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(MarketRun(market_settings, options, listener).run())
