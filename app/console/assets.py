"""The console's own files and front-end libraries, each under an address that changes with its content.

Only the files named here are ever served. Libraries come from package-lock.json by ``make assets``.
"""

import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "/console/static"
STATIC = Path(__file__).parent / "static"
VENDOR = STATIC / "vendor"
OWN = ("console.css", "console.js", "charts.js", "drafts.js", "favicon.svg")
LIBRARIES = (
    "htmx.min.js",
    "htmx-sse.min.js",
    "echarts.min.js",
    "inter-latin.woff2",
    "inter-latin-ext.woff2",
    "jetbrains-mono-latin.woff2",
)
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
DIGEST_CHARS = 16
_REFERENCE = re.compile(rb"asset:([a-z0-9.-]+)")
_COMPRESSED_ALREADY = frozenset({".woff2"})


class AssetsMissing(RuntimeError):
    """A file that the console needs is not there."""

    def __init__(self, paths: Iterable[Path]) -> None:
        names = ", ".join(path.name for path in paths)
        super().__init__(
            f"the console lacks {names}; run `make assets` in the project's folder to install its front-end libraries"
        )


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, ready to be sent.

    Attributes:
        digest: the first hex digits of its SHA-256; part of its address.
        zipped: gzipped content; None where that does not help.
    """

    name: str
    media_type: str
    content: bytes
    digest: str
    zipped: bytes | None

    @property
    def address(self) -> str:
        """Where it is served, for ever."""
        return f"{PREFIX}/{self.digest}/{self.name}"


@dataclass(frozen=True, slots=True)
class Assets:
    """Everything that is served beside pages, by name."""

    by_name: Mapping[str, Asset]

    def address(self, name: str) -> str:
        """The address of a file; a name that is not served is a mistake in a template."""
        return self.by_name[name].address

    def find(self, digest: str, name: str) -> Asset | None:
        """The file at an address; None when nothing, or something else by now, is there."""
        asset = self.by_name.get(name)
        return asset if asset is not None and asset.digest == digest else None


def load_assets(own: Path = STATIC, vendor: Path = VENDOR) -> Assets:
    """Reads every file once.

    Style sheets name others as ``asset:NAME``, which becomes that file's address.

    Raises:
        AssetsMissing: naming each file that is not there, and what to run.
    """
    paths = [*(vendor / name for name in LIBRARIES), *(own / name for name in OWN)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise AssetsMissing(missing)
    by_name: dict[str, Asset] = {}
    for path in sorted(paths, key=lambda path: path.suffix == ".css"):  # last, for it refers to the others
        content = path.read_bytes()
        if path.suffix == ".css":
            content = _REFERENCE.sub(lambda found: by_name[found.group(1).decode()].address.encode(), content)
        by_name[path.name] = _asset(path.name, content)
    return Assets(by_name)


def _asset(name: str, content: bytes) -> Asset:
    suffix = Path(name).suffix
    zipped = None if suffix in _COMPRESSED_ALREADY else gzip.compress(content, compresslevel=6, mtime=0)
    return Asset(name, MEDIA_TYPES[suffix], content, hashlib.sha256(content).hexdigest()[:DIGEST_CHARS], zipped)
