"""The house rules that no off-the-shelf linter knows. Each message says what to do about it."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("app", "pricing", "scheduler", "providers")
CODE = (*PACKAGES, "migrations", "tests", "benchmarks", "requirements")

OLDEST_PYTHON = (3, 11)
SOURCE_LINES_MAX = 400
TEST_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 6

BANNED_WORDS = frozenset({"util", "utils", "helper", "helpers", "manager", "misc", "common", "info"})
BANNED_BARE_NAMES = frozenset({"process", "handle"})

IO_LIBRARIES = frozenset(
    {
        *("sqlmodel", "sqlalchemy", "aiosqlite", "asyncpg", "alembic", "litestar", "redis", "celery", "stripe"),
        *(
            "aiohttp",
            "httpx",
            "httptools",
            "uvicorn",
            "asyncio",
            "socket",
            "subprocess",
            "threading",
            "urllib.request",
            "http",
        ),
    }
)
FREE_ROOMS = frozenset({"console", "portal", "cli"})
IO_FILES = frozenset(
    {
        *("routes", "wire", "schemas", "models", "repository", "service", "serve", "driver", "writer", "sse"),
        *("tasks", "auth", "webhooks"),
    }
)
IO_SUFFIXES = ("_store", "_client", "_cache", "_view", "_routes", "_service")

FRAMEWORK_BASES = frozenset(
    {
        *("Protocol", "Generic", "Enum", "StrEnum", "IntEnum", "Flag", "IntFlag", "NamedTuple", "TypedDict"),
        *("SQLModel", "BaseModel", "RootModel", "BaseSettings", "Struct", "TypeDecorator"),
        *("BaseProtocol", "BufferedProtocol", "HttpToolsProtocol"),
    }
)


@dataclass(frozen=True)
class Module:
    """One parsed source file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def is_test(self) -> bool:
        return self.name.startswith("tests/")

    @property
    def lines(self) -> int:
        return self.text.count("\n") + 1


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return tuple(path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file())


def code_files() -> list[Path]:
    return sorted(p for p in tracked_files() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in CODE)


@cache
def parsed() -> tuple[tuple[Path, str, ast.Module | None], ...]:
    """Every code file with its tree in the grammar of the oldest Python supported; None when it is not Python there."""

    def tree_of(text: str) -> ast.Module | None:
        try:
            return ast.parse(text, feature_version=OLDEST_PYTHON)
        except SyntaxError:
            return None

    return tuple((path, text, tree_of(text)) for path in code_files() for text in [path.read_text()])


@cache
def modules() -> tuple[Module, ...]:
    return tuple(Module(path, text, tree) for path, text, tree in parsed() if tree is not None)


def product_modules() -> Iterator[Module]:
    return (module for module in modules() if module.name.split("/")[0] in PACKAGES)


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def classes(module: Module) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef))


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, type-checking imports included."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def refuse(findings: Iterable[str], lesson: str) -> None:
    """Fails with all findings at once, and what to do about them."""
    found = sorted(findings)
    if found:
        pytest.fail(f"{lesson}\n  " + "\n  ".join(found), pytrace=False)


def test_every_file_is_valid_on_the_oldest_python_supported() -> None:
    refuse(
        (path.relative_to(ROOT).as_posix() for path, _, tree in parsed() if tree is None),
        f"Written in a grammar newer than Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]}.",
    )


def test_a_file_is_short_enough_to_read_in_one_sitting() -> None:
    refuse(
        (
            f"{module.name}: {module.lines} lines, at most {most}"
            for module in modules()
            if module.lines > (most := TEST_LINES_MAX if module.is_test else SOURCE_LINES_MAX)
        ),
        "One noun per file. Split it along the nouns it holds; the public part keeps the name.",
    )


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, the docstring not counted."""
    assert function.end_lineno is not None
    total = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        assert first.end_lineno is not None
        total -= first.end_lineno - first.lineno + 1
    return total


def test_a_function_fits_on_one_screen() -> None:
    refuse(
        (
            f"{module.name}:{function.lineno}: {function.name} has {body_lines(function)} lines"
            for module in modules()
            for function in functions(module)
            if body_lines(function) > FUNCTION_LINES_MAX
        ),
        f"A function has at most {FUNCTION_LINES_MAX} lines. Name its steps and move them below it.",
    )


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    args = function.args
    named = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return len([name for name in named if name not in {"self", "cls"}])


def test_a_function_takes_few_parameters() -> None:
    refuse(
        (
            f"{module.name}:{function.lineno}: {function.name} takes {parameters(function)}"
            for module in modules()
            if not module.is_test
            for function in functions(module)
            if parameters(function) > PARAMETERS_MAX
        ),
        f"At most {PARAMETERS_MAX} parameters. Those that travel together are a value: give it a name and a dataclass.",
    )


def words(name: str) -> list[str]:
    """``HTTPErrorInfo`` and ``http_error_info`` alike are http, error, info."""
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower())


def test_names_say_what_a_thing_is() -> None:
    def named() -> Iterator[tuple[str, str]]:
        for module in product_modules():
            yield module.name, module.path.parent.name if module.path.stem == "__init__" else module.path.stem
            for node in (*functions(module), *classes(module)):
                yield f"{module.name}:{node.lineno}", node.name

    refuse(
        (
            f"{where}: {name}"
            for where, name in named()
            if BANNED_WORDS & set(words(name)) or name.strip("_").lower() in BANNED_BARE_NAMES
        ),
        "These words say nothing: util, helper, manager, misc, common, info, bare process or handle. "
        "Name the noun it holds or the effect it has.",
    )


def is_reserved_for_io(stem: str) -> bool:
    return stem in IO_FILES or stem.endswith(IO_SUFFIXES)


def is_pure(module: Module) -> bool:
    """Whether a file's place promises that it does no I/O."""
    parts = Path(module.name).parts
    if parts[0] in {"pricing", "scheduler"} or parts[:2] == ("providers", "engine_model"):
        return True
    if parts[0] != "app" or len(parts) < 3 or parts[1] in FREE_ROOMS:
        return False
    return not is_reserved_for_io(module.path.stem)


def test_a_file_does_io_only_where_its_name_says_so() -> None:
    def findings() -> Iterator[str]:
        for module in filter(is_pure, product_modules()):
            for line, imported in imports(module):
                if {imported, imported.split(".")[0]} & IO_LIBRARIES:
                    yield f"{module.name}:{line}: imports {imported}"

    refuse(
        findings(),
        f"In app/<room>/ only {', '.join(sorted(IO_FILES))} and *{', *'.join(IO_SUFFIXES)} touch the outside; every "
        "other file is pure, and so are pricing, scheduler and providers/engine_model. Move the effect there, or hand "
        "the value in.",
    )


def test_annotations_are_real_objects() -> None:
    banned = "from __future__ import " + "annotations"
    refuse(
        (module.name for module in modules() if banned in module.text),
        "Postponed annotations break SQLModel relationships and Litestar handlers: quote the one forward reference.",
    )


def exception_names() -> set[str]:
    return {name for name, value in vars(__import__("builtins")).items() if _is_exception(value)}


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def base_name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return base_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "?")


def test_nothing_inherits_but_protocols_errors_and_what_a_framework_reads() -> None:
    bases = {cls.name: [base_name(b) for b in cls.bases] for module in product_modules() for cls in classes(module)}
    allowed = FRAMEWORK_BASES | exception_names()

    def is_allowed(name: str, seen: frozenset[str] = frozenset()) -> bool:
        if name in allowed:
            return True
        inherited = bases.get(name, [])
        return name not in seen and bool(inherited) and all(is_allowed(base, seen | {name}) for base in inherited)

    refuse(
        (
            f"{module.name}:{cls.lineno}: {cls.name}({base})"
            for module in product_modules()
            for cls in classes(module)
            for base in map(base_name, cls.bases)
            if not is_allowed(base)
        ),
        "Compose instead of inheriting: take the other object as an argument. Protocols, errors, enums and the tables "
        "and documents that a framework reads are the exceptions.",
    )


def test_every_module_says_what_it_is_for() -> None:
    refuse(
        (
            module.name
            for module in modules()
            if not module.is_test and module.text.strip() and not ast.get_docstring(module.tree)
        ),
        "A module starts with a docstring whose first sentence says what it is for.",
    )


def test_every_package_says_what_it_owns() -> None:
    def findings() -> Iterator[str]:
        for package in sorted({m.path.parent for m in product_modules() if m.path.stem != "__init__"} - {ROOT / "app"}):
            readme = package / "README.md"
            if not readme.is_file():
                yield f"{package.relative_to(ROOT)}: no README.md"
                continue
            said = readme.read_text().lower()
            missing = [part for part in ("owns", "does not own", "invariants", "words") if part not in said]
            if missing:
                yield f"{readme.relative_to(ROOT)}: says nothing of {', '.join(missing)}"

    refuse(findings(), "A package's README.md says what it owns, does not own, its invariants and its words.")


MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(?:work|root|home|Users)/[\w.]")
REGISTRY_HOSTS = re.compile(r"\b(?:py[p]i|registry\.npmj[s]|deb\.debia[n]|files\.pythonhoste[d])\.org\b")
UNFINISHED = re.compile(r"(?:#|//|<!--|--|\{#).*\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b")
GENERATED = frozenset({"package-lock.json"})


def text_lines(paths: Iterable[Path]) -> Iterator[tuple[str, int, str]]:
    for path in paths:
        if path.name in GENERATED or path.suffix in {".png", ".woff2", ".gz", ".csv", ".lock"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            yield path.relative_to(ROOT).as_posix(), number, line


@pytest.mark.parametrize(
    ("pattern", "lesson"),
    [
        (
            MACHINE_PATHS,
            "A path of one machine works nowhere else: build it from __file__, the settings or a temp dir.",
        ),
        (REGISTRY_HOSTS, "Name packages, not the hosts they come from: the user's own client knows where to look."),
        (UNFINISHED, "Finish it, or file an issue; the code says what is."),
    ],
)
def test_nothing_committed_is_bound_to_a_machine_or_left_unfinished(pattern: re.Pattern[str], lesson: str) -> None:
    refuse(
        (
            f"{name}:{number}: {line.strip()[:100]}"
            for name, number, line in text_lines(tracked_files())
            if pattern.search(line)
        ),
        lesson,
    )


def test_test_files_have_names_of_their_own() -> None:
    stems = [module.path.name for module in modules() if module.is_test and module.path.name != "conftest.py"]
    refuse({stem for stem in stems if stems.count(stem) > 1}, "Two test files of one name confuse reports: rename one.")


def test_every_setting_stands_in_the_example_environment() -> None:
    written = set(re.findall(r"^#? ?GOODPUT_([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    declared = {name.upper() for name in Settings.model_fields}
    refuse(
        {f"missing: GOODPUT_{name}" for name in declared - written}
        | {f"unknown: GOODPUT_{name}" for name in written - declared},
        ".env.example lists every setting of app/settings.py with its default, and no other.",
    )


def test_the_example_environment_states_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GOODPUT_{name.upper()}", raising=False)
    example = (ROOT / ".env.example").read_text()
    given = dict(line.removeprefix("# ").split("=", 1) for line in example.splitlines() if "GOODPUT_" in line)
    defaults = Settings.model_validate({})
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    assert Settings.model_validate({}) == defaults
