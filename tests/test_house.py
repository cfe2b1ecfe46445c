"""The gates of ARCHITECTURE.md: who imports whom, how large a room may grow, and that a name says one thing."""

from __future__ import annotations

import ast
import graphlib
import importlib.util
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import omegaconf
from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf, UnionNode
from omegaconf.basecontainer import BaseContainer

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted([*(ROOT / "trainctl").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])
ALL = sorted(
    [
        *OURS,
        *ROOT.glob("*.py"),
        *(path for top in ("tests", "benchmarks", "examples") for path in (ROOT / top).rglob("*.py")),
    ]
)
MAX_FILES, MAX_IMPORTS = 30, 15
HYDRA_SEAM = "trainctl/compose/_hydra.py"
HYDRA_INSIDE = (
    *("hydra._internal", "hydra.core.global_hydra", "hydra.core.singleton"),
    "hydra_plugins.hydra_joblib_launcher._core",
)

# From the bottom to the top: a room imports rooms of lower rows only, and those of its own row that stand beside it.
ROWS: list[dict[str, set[str]]] = [
    {"errors": set()},
    {"config": set()},
    {"text": set(), "formats": set()},
    {"importers": set()},
    {"rundir": set()},
    {"attempt": set()},
    {"session": set()},
    {"compose": set(), "explain": {"compose"}},
    {
        "commands": set(),
        "launch": set(),
        "track": set(),
        "examine": {"track"},
        "frameworks": {"track"},
        "sources": {"track"},
        "panel": {"examine"},
    },
    {"callback": set(), "micro_config": set(), "preset": set()},
    {"cli": set(), "hydra_plugins": set()},
]
PUBLIC = "trainctl"  # trainctl/__init__.py names what is public and imports nothing until it is asked for
LIBRARIES = {
    **dict.fromkeys(("panel", "bokeh", "tornado", "param"), ("trainctl/panel/",)),
    **dict.fromkeys(("torch", "lightning", "transformers", "accelerate"), ("trainctl/frameworks/",)),
    **dict.fromkeys(("wandb", "mlflow"), ("trainctl/track/", "trainctl/sources/")),  # written there, read here
    "tensorboard": ("trainctl/track/",),
    "gin": ("trainctl/formats/",),
    **dict.fromkeys(("ray", "submitit", "pynvml"), ("trainctl/launch/",)),
}
ONE_FILE_EACH = {"gin", "ray", "submitit", "pynvml", "wandb", "mlflow", "tensorboard", "lightning", "transformers"}

# A file name in two rooms, where the room says which: `track/wandb` writes there, `sources/wandb` reads from there; a
# file of `cli` is named after its command, one of `panel` after what it shows.
SAME_NAME = {
    *("actions", "app", "compare", "config", "edits", "files", "grids"),
    *(
        "job",
        "live",
        "mlflow",
        "mlrunner",
        "pairs",
        "replay",
        "request",
        "results",
        "runs",
        "settings",
        "summary",
    ),
    *("sweep", "table", "values", "wandb"),
}
SAME_CLASS = {"TrainctlCallback"}  # Hydra's and Lightning's; Lightning keys what a checkpoint holds of it by this name
SEAM = "trainctl/config/_omegaconf.py"  # the only file that uses private names of OmegaConf

# Where a string names a module of ours: what is public, programs of `python -m`, and what lies above and is loaded only
# where it is asked for.
BY_NAME = {
    "hydra_plugins.hydra_trainctl.sources": {"trainctl.preset", "trainctl.sources.composition"},
    "trainctl.session.api": {"trainctl.track.following"},
    "trainctl.session.binding": {"trainctl.frameworks.torch"},
    "trainctl.session.ranks.leader": {"trainctl.frameworks.ranks"},
    "trainctl.track.following": {"trainctl.track.sync"},
}


def name_of(path: Path) -> str:
    """Return the dotted module name of a file below the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), feature_version=(3, 10))


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Return the full names of all modules and members that a file imports, in functions and for types too."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


MODULES = {name_of(path): path for path in OURS}


def own_imports(path: Path) -> set[str]:
    """Return the modules of ours that a file imports."""
    return {
        name if name in MODULES else name.rpartition(".")[0]
        for name in imports_of(path)
        if name.startswith(("trainctl.", "hydra_plugins.hydra_trainctl."))
    } - {name_of(path), PUBLIC}


def room_of(name: str) -> str:
    """Return the room of a module of ours: its part below `trainctl`, or `hydra_plugins`."""
    parts = name.split(".")
    return "hydra_plugins" if parts[0] == "hydra_plugins" else parts[1]


def relative(paths: Iterable[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_imports_go_one_way() -> None:
    allowed: dict[str, set[str]] = {}
    below: set[str] = set()
    for row in ROWS:
        allowed.update({room: below | beside | {room} for room, beside in row.items()})
        below = below | set(row)
    upward = {
        f"{name_of(path)} -> {name}"
        for path in OURS
        if name_of(path) not in (PUBLIC, "trainctl.__main__")
        for name in own_imports(path)
        if room_of(name) not in allowed[room_of(name_of(path))]
    }
    assert upward == set()


def test_modules_import_each_other_without_cycles() -> None:
    graph = {module: own_imports(path) for module, path in MODULES.items() if module != PUBLIC}
    list(graphlib.TopologicalSorter(graph).static_order())


@cache
def private_names_of_omegaconf() -> frozenset[str]:
    """Return what OmegaConf's classes of nodes call private: members of the classes, and attributes of instances."""
    nodes = [OmegaConf.create({"x": [1]}), AnyNode(1)]
    kinds = [BaseContainer, DictConfig, ListConfig, UnionNode, AnyNode, OmegaConf]
    names = {name for kind in kinds for name in (*dir(kind), *kind.__annotations__)}
    names |= {name for node in nodes for name in vars(node)}
    return frozenset(name for name in names if name[:1] == "_" and name[:2] != "__" and "__" not in name)


def private_uses_of_omegaconf(path: Path) -> set[str]:
    """Return what a file names of OmegaConf that is private: attributes, keys of a `__dict__`, and modules.

    Names that a class of the same file has may be this class's, and those of `self` and `cls` always are.
    """
    own = {node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)}
    own |= {target.attr for target in ast.walk(tree_of(path)) if isinstance(target, ast.Attribute) and is_own(target)}
    own |= {
        node.target.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    public = {"omegaconf", *(f"omegaconf.{name}" for name in (*omegaconf.__all__, "errors"))}
    found = {name for name in imports_of(path) if ".".join(name.split(".")[:2]) not in public}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and not is_own(node):
            found |= {node.attr} - own
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value}
    return {name for name in found if name in private_names_of_omegaconf() or name.startswith("omegaconf.")}


def is_own(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def test_private_names_of_omegaconf_stand_in_one_file() -> None:
    seam = private_uses_of_omegaconf(ROOT / SEAM)
    assert {"_get_node", "_value", "_metadata", "_content", "omegaconf.basecontainer.BaseContainer"} <= seam
    strays = {
        place: sorted(private_uses_of_omegaconf(path))
        for path, place in zip(OURS, relative(OURS), strict=True)
        if place != SEAM and private_uses_of_omegaconf(path)
    }
    assert strays == {}


def test_each_private_name_of_omegaconf_has_its_contract_test() -> None:
    contract = (ROOT / "tests" / "config" / "test_omegaconf_seam.py").read_text()
    names = {name.rpartition(".")[2] for name in private_uses_of_omegaconf(ROOT / SEAM)}
    assert {name for name in names if not re.search(rf"\b{name}\b", contract)} == set()


def test_optional_and_heavy_libraries_stay_in_their_room() -> None:
    strays = {
        f"{place} imports {name}"
        for path, place in zip(OURS, relative(OURS), strict=True)
        for name in imports_of(path)
        if not place.startswith(LIBRARIES.get(name.split(".")[0], ("",)))
    }
    assert strays == set()


def test_optional_libraries_are_imported_by_one_file_of_a_room_each() -> None:
    importers = Counter(
        (library, path.parent) for path in OURS for library in {name.split(".")[0] for name in imports_of(path)}
    )
    assert {each: count for each, count in importers.items() if each[0] in ONE_FILE_EACH and count > 1} == {}


def test_private_names_of_hydra_are_used_by_one_file() -> None:
    private = private_names("hydra", "hydra_plugins.hydra_joblib_launcher") - private_names("omegaconf")
    strays = set()
    for path, place in zip(OURS, relative(OURS), strict=True):
        others = private - set(defined_in(tree_of(path)))
        used = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
        texts = {node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)}
        for name in {*imports_of(path), *used, *(text for text in texts if isinstance(text, str))}:
            is_hydras = name.startswith(("hydra.", "hydra_plugins.hydra_joblib_launcher."))
            if name in others or name.startswith(HYDRA_INSIDE) or (is_hydras and private & set(name.split("."))):
                strays.add(f"{place} uses {name}")
    assert {each for each in strays if not each.startswith(HYDRA_SEAM)} == set()


def private_names(*packages: str) -> set[str]:
    """Return the names with an underscore in front, not those with one behind too, that installed packages define."""
    roots = [Path(str(spec.origin)).parent for name in packages if (spec := importlib.util.find_spec(name)) is not None]
    files = [path for root in roots for path in root.rglob("*.py") if "grammar" not in path.parts]
    names = {name for path in files for name in defined_in(ast.parse(path.read_bytes()))}
    return {name for name in names if re.fullmatch("_[a-z].*[^_]", name)}


def defined_in(tree: ast.Module) -> Iterator[str]:
    """Yield the names of the functions, classes, variables and attributes of `self` that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if isinstance(node.value, ast.Name) and node.value.id == "self" else []


def test_a_package_has_at_most_30_files() -> None:
    sizes = Counter(path.parent for path in OURS if path.name != "__init__.py")
    assert {str(package): size for package, size in sizes.items() if size > MAX_FILES} == {}


def test_a_file_imports_at_most_15_of_ours() -> None:
    counts = {name_of(path): len(own_imports(path)) for path in OURS if name_of(path) != PUBLIC}
    assert {name: count for name, count in counts.items() if count > MAX_IMPORTS} == {}


def test_a_class_name_is_given_once() -> None:
    places = defaultdict(list)
    for path in OURS:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and node.name not in SAME_CLASS:
                places[node.name].append(name_of(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_file_name_is_given_once_or_its_room_tells_which() -> None:
    names = Counter(path.stem for path in OURS if not path.name.startswith("__"))
    assert {name for name, count in names.items() if count > 1} == SAME_NAME


def test_annotations_are_postponed_except_where_hydra_evaluates_them() -> None:
    wrong = [
        path
        for path in OURS
        if len(tree_of(path).body) > 1
        and ("__future__.annotations" in imports_of(path)) == path.is_relative_to(ROOT / "hydra_plugins")
    ]
    assert relative(wrong) == []


def test_every_file_is_python_3_10() -> None:
    assert all(tree_of(path) for path in ALL)


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


def test_modules_of_ours_are_named_in_strings_in_a_few_places_only() -> None:
    found = {
        name_of(path): {
            text
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if MODULES.get(text := node.value.partition(":")[0], Path("__init__.py")).name != "__init__.py"
        }
        for path in OURS
        if name_of(path) != PUBLIC
    }
    assert {name: texts for name, texts in found.items() if texts} == BY_NAME


def test_no_function_sets_a_variable_of_its_module() -> None:
    assert [name_of(path) for path in OURS for node in ast.walk(tree_of(path)) if isinstance(node, ast.Global)] == []


def test_each_file_that_architecture_names_is_there() -> None:
    homes = [ROOT, ROOT / "trainctl", *(ROOT / "trainctl" / room for room in ("launch", "panel", "session"))]
    named = re.findall(r"`([a-z_]+(?:/[a-z_0-9.]+)+)`", (ROOT / "ARCHITECTURE.md").read_text())
    assert len(named) > 50
    there = {name: any((home / f"{name}{end}").exists() for home in homes for end in ("", ".py")) for name in named}
    assert [name for name, is_there in there.items() if not is_there] == []
