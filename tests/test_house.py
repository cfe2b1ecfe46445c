"""The house rules of ARCHITECTURE.md: who imports whom, how long files and functions may be, what may not exist."""

from __future__ import annotations

import ast
import graphlib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted([*(ROOT / "trainctl").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])
ALL = sorted(
    [
        *OURS,
        *ROOT.glob("*.py"),
        *(path for top in ("tests", "benchmarks", "examples") for path in (ROOT / top).rglob("*.py")),
    ]
)

BELOW_RUN = {"config", "errors"}
ALLOWED = {
    "errors": set(),
    "config": {"errors"},
    "run": BELOW_RUN,
    "panel": {"examine", "run", *BELOW_RUN},
    "launch": {"run", *BELOW_RUN},
    "track": {"run", *BELOW_RUN},
    "sources": {"run", *BELOW_RUN},
    "frameworks": {"run", *BELOW_RUN},
    "commands": {"run", *BELOW_RUN},
    "examine": {"track", "run", *BELOW_RUN},
    "preset": {"launch", "run", *BELOW_RUN},
    "callback": {"panel", "launch", "track", "frameworks", "run", *BELOW_RUN},
    "cli": {"callback", "examine", "panel", "launch", "track", "sources", "frameworks", "run", *BELOW_RUN},
    "hydra_plugins": {
        "preset",
        "callback",
        "examine",
        "panel",
        "launch",
        "track",
        "sources",
        "frameworks",
        "run",
        *BELOW_RUN,
    },
    "trainctl": {"examine", "frameworks", "panel", "run", *BELOW_RUN},  # trainctl/__init__.py: the public names
    "__main__": {"cli"},
}
LIBRARIES = {
    **dict.fromkeys(("panel", "bokeh", "tornado", "param"), "trainctl/panel/"),
    **dict.fromkeys(("torch", "lightning", "transformers", "accelerate"), "trainctl/frameworks/"),
    **dict.fromkeys(("wandb", "mlflow"), ("trainctl/track/", "trainctl/sources/")),  # written there, read here
    "tensorboard": "trainctl/track/",
    **dict.fromkeys(("ray", "submitit", "pynvml"), "trainctl/launch/"),
}
ONE_FILE_EACH = {"ray", "submitit", "pynvml", "wandb", "mlflow", "tensorboard", "lightning", "transformers"}


def name_of(path: Path) -> str:
    """Return the dotted module name of a file below the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Return the full names of all modules and members that a file imports, in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def room_of(name: str) -> str:
    """Return the room of a module of ours: its part below `trainctl`, or `hydra_plugins`."""
    parts = name.split(".")
    return "hydra_plugins" if parts[0] == "hydra_plugins" else parts[1] if len(parts) > 1 else "trainctl"


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("path", OURS, ids=relative(OURS))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(name_of(path))
    assert room in ALLOWED, f"{room} is a room that the house does not have"
    upward = {
        name
        for name in imports_of(path)
        if name.split(".")[0] in ("trainctl", "hydra_plugins")
        and not name.startswith("hydra_plugins.hydra_joblib_launcher.")
        if name != "trainctl.__version__" and room_of(name) not in ALLOWED[room] | {room}
    }
    assert not upward


@pytest.mark.parametrize("path", OURS, ids=relative(OURS))
def test_optional_and_heavy_libraries_stay_in_their_room(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    strays = {name for name in imports_of(path) if not place.startswith(LIBRARIES.get(name.split(".")[0], ""))}
    assert not strays


def test_optional_libraries_are_imported_by_one_file_of_a_room_each() -> None:
    importers = Counter(
        (library, path.parent) for path in OURS for library in {name.split(".")[0] for name in imports_of(path)}
    )
    assert {each: count for each, count in importers.items() if each[0] in ONE_FILE_EACH and count > 1} == {}


def test_panel_imports_no_live_session() -> None:
    pages = (ROOT / "trainctl" / "panel").rglob("*.py")
    assert [path.name for path in pages if any(name.startswith("trainctl.run.live") for name in imports_of(path))] == []


def test_modules_import_each_other_without_cycles() -> None:
    modules = {name_of(path): path for path in OURS}
    graph = {
        module: {name if name in modules else name.rpartition(".")[0] for name in imports_of(path)} - {module}
        for module, path in modules.items()
        if module != "trainctl"
    }
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", ALL, ids=relative(ALL))
def test_file_is_at_most_300_lines_of_python_3_10(path: Path) -> None:
    source = path.read_text()
    ast.parse(source, feature_version=(3, 10))
    assert len(source.splitlines()) <= 300


@pytest.mark.parametrize("path", OURS, ids=relative(OURS))
def test_functions_are_at_most_40_lines(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > 40} == {}


@pytest.mark.parametrize("path", OURS, ids=relative(OURS))
def test_annotations_are_postponed_except_where_hydra_evaluates_them(path: Path) -> None:
    is_plugin = path.is_relative_to(ROOT / "hydra_plugins")
    has_code = len(ast.parse(path.read_text()).body) > 1
    is_postponed = "__future__.annotations" in imports_of(path)
    assert is_postponed != is_plugin or not has_code


def test_no_module_is_called_utils() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "misc", "manager"}
    assert [name for name in relative(ALL) if set(Path(name).with_suffix("").parts) & vague] == []


def test_hydra_plugins_is_a_namespace_package() -> None:
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()
    assert (ROOT / "hydra_plugins" / "hydra_trainctl" / "__init__.py").is_file()


def test_test_files_have_unique_names_and_no_packages() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
    assert "__init__.py" not in names


# What `threading.Thread` calls its own parts, in Python 3.10 to 3.14: a subclass that uses one cannot be started.
OF_THREADS = {
    "_args", "_context", "_daemonic", "_handle", "_ident", "_initialized", "_invoke_excepthook", "_is_stopped",
    "_kwargs", "_name", "_native_id", "_os_thread_handle", "_started", "_stderr", "_target", "_tstate_lock",
}  # fmt: skip


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_threads_of_ours_leave_the_names_of_thread_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and "threading.Thread" in map(ast.unparse, node.bases):
            assert not OF_THREADS & {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
