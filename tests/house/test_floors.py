"""The floors: who may import whom, and what is pure.

    core <- adapters <- web <- roles <- cli, bench, embedded

The table is in docs/architecture.md; imports are read from the source, wherever they stand.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "mailworkers"
TREES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}

_UP_TO_ROLES = {"core", "adapters", "web", "roles"}
BELOW = {
    "core": {"core"},
    "adapters": {"core", "adapters"},
    "web": {"core", "adapters", "web"},
    "roles": {"core", "adapters"},
    "bench": _UP_TO_ROLES | {"bench", "embedded"},
    "embedded": _UP_TO_ROLES | {"embedded"},
    "gameday": _UP_TO_ROLES | {"gameday", "bench", "embedded"},
    "cli": _UP_TO_ROLES | {"cli", "bench", "embedded", "gameday"},
}
# A game day asks the stores itself: what is judged must not be read by the code that wrote it.
ON_THEIR_OWN = {"gameday"}
JUDGES = "gameday.judging"
SERVING = {"roles.api", "roles.monitor"}
ONLY_THERE = {
    "adapters": {"psycopg", "psycopg_pool", "redis", "yoyo", "jinja2", "smtplib", "ssl"}
    | {"prometheus_client", "opentelemetry", "supervisor", "cryptography", "dns"},
    "cli": {"click"},
    "web": {"litestar", "uvicorn", "httptools"},
}
IMPURE = {"asyncio", "fcntl", "http", "io", "logging", "multiprocessing", "os", "random"}
IMPURE |= {"secrets", "shutil", "signal", "smtplib", "socket", "ssl", "subprocess", "sys"}
IMPURE |= {"tempfile", "threading", "time"}
IMPURE_CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "read_text"}


def _imports(module: str) -> Iterator[tuple[str, str]]:
    """Yield what *module* imports as (module, name), the name empty for a whole module."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def _ours(module: str) -> Iterator[str]:
    """Yield the modules of this package that *module* imports, as `adapters.store`."""
    for source, name in _imports(module):
        if source.partition(".")[0] == "mailworkers":
            yield f"{source}.{name}".removeprefix("mailworkers.").strip(".")


def test_a_floor_uses_only_what_lies_below_it() -> None:
    """Roles do not know each other; only those that serve HTTP know `web`."""
    offenders = []
    for module in TREES:
        floor = module.partition(".")[0]
        allowed = BELOW.get(floor, {"cli"}) | ({"web"} if module in SERVING else set())
        denied = BELOW.keys() - allowed
        offenders += [
            f"{module} uses {used}" for used in _ours(module) if used.partition(".")[0] in denied
        ]

    assert offenders == []


def test_a_library_is_used_only_where_it_belongs() -> None:
    """One outside thing, one adapter; click on the command line; the web framework in `web`."""
    offenders = []
    for module in TREES:
        floor = "web" if module in SERVING else module.partition(".")[0]
        for source, _ in _imports(module):
            top = source.partition(".")[0]
            if floor in ON_THEIR_OWN and top in {"psycopg", "redis"}:
                continue
            if any(top in libraries and floor != home for home, libraries in ONLY_THERE.items()):
                offenders.append(f"{module} uses {source}")

    assert offenders == []


def test_the_judge_shares_no_code_with_what_it_judges() -> None:
    """A fault that service and judge have in common would not be seen."""
    offenders = [
        f"{module} uses {used}"
        for module in TREES
        if module.startswith(JUDGES)
        for used in _ours(module)
        if not used.startswith(JUDGES)
    ]

    assert offenders == []


def test_core_is_pure() -> None:
    """No I/O, clock, randomness or logging: what a decision needs comes as an argument."""
    offenders = []
    for module in (name for name in TREES if name.startswith("core.")):
        offenders += [
            f"{module} uses {source}"
            for source, _ in _imports(module)
            if source.partition(".")[0] in IMPURE
        ]
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in IMPURE_CALLS:
                    offenders.append(f"{module}:{node.lineno} calls {name}")

    assert offenders == []


def test_only_the_store_runs_statements() -> None:
    """Others pass connections on and open transactions; what is asked stands in `sql/`."""
    offenders = []
    for module, tree in TREES.items():
        if module.startswith("adapters.store.") or module == "adapters.db":
            continue
        used = {name for source, name in _imports(module) if source == "mailworkers.adapters.db"}
        used |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "db"
        }
        offenders += [f"{module} uses db.{name}" for name in used & {"run", "SQL"}]

    assert offenders == []
