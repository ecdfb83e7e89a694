"""The rules of the house, and that each of them can fail."""

import ast
import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esmc.settings import EsmcSettings
from host.settings import describe, setting
from scripts import settings_docs
from smc.settings import SmcSettings

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("model", "wire", "analytics", "trust", "host", "web", "norm", "smc", "esmc", "commands")


def committed() -> list[Path]:
    """Files under version control, or in a plain copy of the tree all that are not made here."""
    if (ROOT / ".git").exists():
        names = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        )
        return [ROOT / name for name in names.stdout.split("\0") if name and (ROOT / name).is_file()]
    made = {".venv", "var", "__pycache__", ".git"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not made & set(p.relative_to(ROOT).parts)]


# --- settings ---------------------------------------------------------------------------------------------------------


def undescribed(kind: type[Any], prefix: str) -> list[str]:
    return [name for name, _, text in describe(kind, prefix) if len(text.split()) < 3]


@pytest.mark.parametrize(("kind", "prefix"), [(SmcSettings, "SMC"), (EsmcSettings, "ESMC")])
def test_every_setting_has_a_description(kind: type[Any], prefix: str) -> None:
    assert undescribed(kind, prefix) == []


def test_a_setting_without_description_is_found() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Sloppy:
        good: int = setting("seconds between two polls", 1)
        bad: int = setting("", 1)
        worse: int = 1

    assert undescribed(Sloppy, "X") == ["X_BAD", "X_WORSE"]


@pytest.mark.parametrize(("kind", "prefix"), [(SmcSettings, "SMC"), (EsmcSettings, "ESMC")])
def test_no_secret_has_a_value(kind: type[Any], prefix: str) -> None:
    """Secrets are read from files: a setting that holds one itself would show up in process lists and core dumps."""
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|KEY")
    assert [name for name, _, _ in describe(kind, prefix) if secret.search(name) and not name.endswith("_FILE")] == []


def test_the_page_of_the_settings_is_up_to_date() -> None:
    assert settings_docs.FILE.read_text() == settings_docs.page(), "run `make settings-docs`"


# --- borders between the rooms ----------------------------------------------------------------------------------------

SMUGGLED = {
    "smc imports esmc": ("smc/triage.py", "import esmc.settings"),
    "esmc imports smc": ("esmc/correlate.py", "import smc.settings"),
    "a room imports the room above": ("trust/store.py", "import web.gate"),
    "analytics reads the clock": ("analytics/explain.py", "import time"),
    "a codec opens sockets": ("wire/senml.py", "import socket"),
    "a noun knows the database": ("model/finding.py", "import sqlalchemy"),
    "a stage imports a stage": ("smc/detect.py", "import smc.triage"),
    "somebody imports the door": ("norm/agent.py", "import app"),
    "somebody unpickles": ("analytics/explain.py", "import pickle"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms and their borders, to break them without harm."""
    place = tmp_path_factory.mktemp("borders")
    for room in ROOMS:
        shutil.copytree(ROOT / room, place / room, ignore=lambda _, names: [n for n in names if n == "__pycache__"])
    for name in ("pyproject.toml", "app.py"):
        shutil.copy(ROOT / name, place / name)
    return place


def lint_imports(place: Path) -> subprocess.CompletedProcess[str]:
    line = [ROOT / ".venv" / "bin" / "lint-imports", "--no-cache"]
    return subprocess.run(line, cwd=place, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("smuggled", SMUGGLED)
def test_every_border_is_guarded(copy: Path, smuggled: str) -> None:
    name, line = SMUGGLED[smuggled]
    file = copy / name
    before = file.read_text() if file.exists() else None
    file.write_text(f"{before or ''}\n{line}\n")
    try:
        judged = lint_imports(copy)
    finally:
        file.unlink() if before is None else file.write_text(before)
    assert judged.returncode == 1, judged.stdout + judged.stderr
    assert "BROKEN" in judged.stdout


def test_the_borders_hold(copy: Path) -> None:
    judged = lint_imports(copy)
    assert judged.returncode == 0, judged.stdout


# --- habits that a linter does not know -------------------------------------------------------------------------------

Finds = Callable[[ast.AST], bool]
_SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(TABLE|INDEX|FUNCTION)\s)"
)
_DANGEROUS = {"eval", "exec", "yaml.load", "pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "os.system"}


def is_sql(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value) is not None


def reads_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv", "os.environb"}


def runs_data(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
    asked = keywords.get("allow_pickle") == "True" or keywords.get("shell") == "True"
    return asked or ast.unparse(node.func) in _DANGEROUS


def is_async(node: ast.AST) -> bool:
    return isinstance(node, ast.AsyncFunctionDef)


HABITS: dict[str, tuple[Finds, re.Pattern[str], str]] = {
    "SQL lives in stores, servers and the doctor": (
        is_sql,
        re.compile(r"(smc|esmc)/store/|trust/store\.py|host/(database|postgres|backup)\.py|commands/doctor\.py"),
        'query = "SELECT name FROM devices"',
    ),
    "the environment is read at the door": (
        reads_environment,
        # Handed on whole to pg_dump; and the page that refuses Dash's own switches.
        re.compile(r"commands/|host/backup\.py|web/frame\.py"),
        "value = os.environ['HOME']",
    ),
    "data is never run": (runs_data, re.compile(r"(?!)"), "x = np.load(file, allow_pickle=True)"),
    "async stays at the links": (is_async, re.compile(r"smc/gateway/|norm/|host/broker\.py"), "async def f(): ..."),
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


@pytest.mark.parametrize("habit", HABITS)
def test_habits_are_kept(habit: str) -> None:
    finds, allowed, _ = HABITS[habit]
    places = [
        f"{name}:{getattr(node, 'lineno', 0)}"
        for name, tree in sources()
        if not allowed.match(name)
        for node in ast.walk(tree)
        if finds(node)
    ]
    assert places == []


@pytest.mark.parametrize("habit", HABITS)
def test_every_habit_can_be_broken(habit: str) -> None:
    finds, _, example = HABITS[habit]
    assert any(finds(node) for node in ast.walk(ast.parse(example)))


# --- what is committed ------------------------------------------------------------------------------------------------

# Spelled apart, so that this file does not find itself.
_OURS_ONLY = re.compile(r"/(?:wor" + r"k|roo" + r"t|home/\w+)/\w|/tm" + r"p/\w")
_HOSTS = re.compile(
    r"deb\.deb" + r"ian|pypi\.o" + r"rg|pythonhos" + r"ted|npm" + r"js\.(?:org|com)|(?<!emit-)index-" + r"url\b"
)
_TEXT = {".py", ".md", ".toml", ".yml", ".yaml", ".json", ".css", ".js", ".sh", ".lock", ".txt", ".conf", ""}


def found(pattern: re.Pattern[str]) -> list[str]:
    places = []
    for file in committed():
        if file.suffix not in _TEXT or file.name == "LICENSE":
            continue
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                places.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return places


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert found(_OURS_ONLY) == []


def test_no_file_names_a_registry() -> None:
    assert found(_HOSTS) == []


def test_both_searches_can_find() -> None:
    assert _OURS_ONLY.search("open('/roo" + "t/x')")
    assert _OURS_ONLY.search("cat /tm" + "p/x")
    assert _HOSTS.search("https://pypi.o" + "rg/simple")
