"""What each private name of Hydra, and of its joblib launcher, must do for `trainctl/compose/_hydra.py`."""

from __future__ import annotations

import ast
import contextlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra import initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict
from omegaconf.basecontainer import BaseContainer
from project_processes import ROOT, run_python

from trainctl.compose import _hydra

SEAM = ROOT / "trainctl" / "compose" / "_hydra.py"
PROVEN: set[str] = set()
Test = Callable[..., None]


def proves(*names: str) -> Callable[[Test], Test]:
    PROVEN.update(names)
    return lambda test: test


@pytest.fixture
def loader(tmp_path: Path) -> Any:
    (tmp_path / "db").mkdir()
    (tmp_path / "config.yaml").write_text("defaults: [db: mysql, _self_]\nlr: 0.1\n")
    (tmp_path / "db" / "mysql.yaml").write_text("# @package store\nport: 3306\n")
    (tmp_path / "db" / "postgres.yaml").write_text("port: 5432\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3", job_name="app"):
        yield GlobalHydra.instance().config_loader()
    HydraConfig.instance().cfg = None


def parse(*lines: str) -> list[Any]:
    return OverridesParser.create().parse_overrides(list(lines))


def listed(loader: Any, *lines: str) -> tuple[Any, Any]:
    repo = _hydra.repository_of(loader, "config", list(lines))
    return repo, _hydra.create_defaults_list(repo, "config", parse(*lines), True, False)


def test_every_private_name_of_the_seam_has_a_test() -> None:
    tree = ast.parse(SEAM.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.startswith("_")}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (str(node.module).startswith("hydra._internal") or node.module == "hydra_plugins.hydra_joblib_launcher")
        for alias in node.names
    }
    dunder = {name for name in used if name.startswith("__")}
    assert (used | imported) - own - dunder - {"_config"} - PROVEN == set()


def test_this_version_is_known_and_said_to_be() -> None:
    assert _hydra.IS_KNOWN
    assert _hydra.is_known()


@proves("_is_env_set")
def test_main_alone_hears_of_what_hydra_or_we_raise(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from hydra._internal import utils

    as_hydra: dict[str, Any] = {"__name__": "hydra._internal.hydra", "is_told_by_main": _hydra.is_told_by_main}
    exec("def multirun(): return is_told_by_main()", as_hydra)  # a function of Hydra's, as it were
    multirun = as_hydra["multirun"]
    assert utils.run_and_report(multirun)
    assert not multirun(), "no main: somebody else may catch it"

    def catches() -> Any:
        return multirun()

    def fails() -> None:
        raise ValueError("no")

    assert not utils.run_and_report(catches), "this test may catch it"
    with pytest.raises(SystemExit, match="1"):
        utils.run_and_report(fails)
    assert "ValueError: no" in capsys.readouterr().err
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert not utils.run_and_report(multirun)


@proves("ConfigLoaderImpl")
def test_hydras_own_loader_is_a_config_loader_impl_with_a_repository_that_can_be_replaced(loader: Any) -> None:
    assert type(loader) is _hydra.ConfigLoaderImpl
    assert isinstance(loader.repository, _hydra.ConfigRepository)
    asked = []

    class Watched(_hydra.ConfigRepository):
        def __init__(self, config_search_path: Any) -> None:
            super().__init__(config_search_path)

        def load_config(self, config_path: str) -> Any:
            asked.append(config_path)
            return super().load_config(config_path)

    loader.repository = Watched(loader.get_search_path())
    assert loader.load_configuration("config", [], RunMode.RUN).lr == 0.1
    assert {"config", "db/mysql"} <= set(asked)


@proves("ConfigRepository")
def test_repository_makes_its_sources_from_a_search_path_and_asks_each(loader: Any) -> None:
    repository = _hydra.ConfigRepository(loader.get_search_path())
    repository.initialize_sources(loader.get_search_path())
    assert repository.group_exists("db")
    assert not repository.group_exists("from_nowhere")
    assert repository.config_exists("db/mysql")
    assert next(source.provider for source in repository.get_sources()) == "hydra"
    assert repository.sources == repository.get_sources()


@proves("FileConfigSource", "_normalize_file_name", "_get_header_dict", "_list_add_result")
def test_file_source_names_files_reads_headers_and_lists(tmp_path: Path, loader: Any) -> None:
    source = _hydra.FileSource("main", str(tmp_path))
    assert (source.scheme(), source.path, source.provider) == ("file", str(tmp_path), "main")
    assert source.file_name("db/mysql") == "db/mysql.yaml"
    assert source.file_name("db/mysql.yaml") == "db/mysql.yaml"
    assert source.header_of("# @package store\nport: 1\n")["package"] == "store"
    assert source.header_of("port: 1\n")["package"] is None
    found: list[str] = []
    source.add_result(files=found, file_path="db/mysql.yaml", file_name="mysql.yaml", results_filter=None)
    assert found == ["mysql"]
    own = [source for source in loader.get_sources() if source.provider == "main"]
    name = f"{_hydra.FileConfigSource.__module__}.{_hydra.FileConfigSource.__qualname__}"
    assert [f"{type(source).__module__}.{type(source).__qualname__}" for source in own] == [name]


@proves("_parse_overrides_and_create_caching_repo")
def test_repository_of_a_composition_has_the_search_path_that_an_override_asks_for(loader: Any, tmp_path: Path) -> None:
    more = tmp_path / "more"
    (more / "db").mkdir(parents=True)
    (more / "db" / "lite.yaml").write_text("port: 0\n")
    assert not _hydra.repository_of(loader, "config", []).config_exists("db/lite")
    assert _hydra.repository_of(loader, "config", [f"hydra.searchpath=[{more}]"]).config_exists("db/lite")


@proves("defaults_list", "config_loader_impl")
def test_defaults_list_has_its_entries_in_order_and_what_was_chosen(loader: Any) -> None:
    _, made = listed(loader, "db=postgres", "lr=2", "hydra/output=default")
    paths = [entry.config_path for entry in made.defaults if not str(entry.config_path).startswith("hydra/")]
    assert paths == ["db/postgres", "config"]
    assert made.overrides.known_choices["db"] == "postgres"
    assert [each.input_line for each in made.config_overrides] == ["lr=2"]
    entry = next(entry for entry in made.defaults if entry.config_path == "db/postgres")
    assert (entry.package, entry.override_key, entry.parent, entry.primary) == ("db", "db", "config", False)
    assert vars(made).keys() >= {"defaults", "config_overrides", "defaults_tree", "overrides"}


def test_defaults_list_is_made_of_arguments_with_these_names() -> None:
    code = _hydra.defaults_list.create_defaults_list.__code__
    names = ("repo", "config_name", "overrides_list", "prepend_hydra", "skip_missing")
    assert code.co_varnames[: code.co_argcount] == names
    assert tuple(inspect.signature(_hydra.create_defaults_list).parameters) == names


@proves("_load_single_config")
def test_entry_is_loaded_into_its_package(loader: Any) -> None:
    repo, made = listed(loader)
    entry = next(entry for entry in made.defaults if entry.config_path == "db/mysql")
    found = _hydra.load_entry(loader, entry, repo)
    assert found.config == {"store": {"port": 3306}}
    assert (found.provider, found.path.partition("://")[0]) == ("main", "file")


@proves("_compose_config_from_defaults_list")
def test_entries_are_merged_in_their_order(loader: Any) -> None:
    repo, made = listed(loader, "db=postgres")
    config = _hydra.merge_defaults(loader, made.defaults, repo)
    assert {key: value for key, value in config.items() if key != "hydra"} == {"db": {"port": 5432}, "lr": 0.1}
    assert "defaults" not in config


@proves("_apply_overrides_to_config")
def test_overrides_change_a_config_in_place_and_in_order() -> None:
    config = OmegaConf.create({"lr": 0.1, "old": 1})
    OmegaConf.set_struct(config, True)
    _hydra.apply_overrides(parse("lr=1", "lr=2", "+new.deep=x", "~old"), config)
    assert config == {"lr": 2, "new": {"deep": "x"}}
    with pytest.raises(ConfigCompositionException):
        _hydra.apply_overrides(parse("nosuch=1"), config)


@pytest.mark.skipif(not _hydra.CAN_SHARE, reason="later versions resolve it, and have no such function")
@proves("get_overrides_dirname")
def test_dirname_of_overrides_is_written_as_hydra_1_3_does(loader: Any) -> None:
    lines = ["lr=2", "store.port=3"]
    composed = loader.load_configuration("config", lines, RunMode.RUN)
    options = composed.hydra.job.config.override_dirname
    assert _hydra.overrides_dirname(parse(*lines), options) == composed.hydra.job.override_dirname == ",".join(lines)


@proves("ConfigSearchPathImpl")
def test_loader_of_a_search_path_composes_by_it(tmp_path: Path, loader: Any) -> None:
    made = _hydra.loader_of(
        [("hydra", "pkg://hydra.conf"), ("main", f"file://{tmp_path}"), ("schema", "structured://")]
    )
    assert made.load_configuration("config", ["db=postgres"], RunMode.RUN).db.port == 5432


@pytest.fixture
def led(loader: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loader, and Hydra as it was afterwards; an earlier test of this process may lead it already."""
    monkeypatch.setattr("trainctl.sources.composition.install", lambda: None)  # a copy of a source installs them again
    monkeypatch.setattr(_hydra.defaults_list, "_create_defaults_list", _hydra._own_list)
    monkeypatch.setattr(_hydra.defaults_list, "DefaultsList", _hydra._OwnDefaultsList)
    monkeypatch.setattr(_hydra.ConfigLoaderImpl, "_compose_config_from_defaults_list", _hydra.merge_defaults)
    return loader


@proves("_create_defaults_list", "DefaultsList", "_getframe")
def test_compositions_are_led_through_other_functions_with_all_that_was_asked(led: Any) -> None:
    seen: list[tuple[str, Any]] = []

    def before(request: Any) -> None:
        seen.append(("before", [each.input_line for each in request["overrides_list"]]))
        assert _hydra.is_making_a_list()

    def after(request: Any, defaults: Any) -> None:
        seen.append(("after", [request["config_name"], defaults[-1].config_path]))

    def merge(self: Any, defaults: Any, repo: Any) -> Any:
        seen.append(("merge", _hydra.is_making_a_list()))
        return _hydra.merge_defaults(self, defaults, repo)

    _hydra.lead(before, after, merge)
    assert led.load_configuration("config", ["lr=3"], RunMode.RUN).lr == 3
    assert seen == [("before", ["lr=3"]), ("after", ["config", "config"]), ("merge", False)]


def test_list_that_is_made_instead_is_taken(led: Any) -> None:
    is_making = False

    def before(request: Any) -> Any:
        nonlocal is_making
        if is_making:
            return None
        is_making = True
        return _hydra.create_defaults_list(**{**request, "overrides_list": parse("db=postgres")})

    _hydra.lead(
        before,
        lambda request, defaults: None,
        _hydra.merge_defaults,
    )
    config = led.load_configuration("config", ["db=mysql"], RunMode.RUN)
    assert config.db.port == 5432
    assert config.hydra.runtime.choices.db == "postgres"


@proves("_apply_overrides_to_config", "_load_configuration_impl", "get_sanitized_cfg")
@pytest.mark.parametrize("is_for_job", [True, False])
def test_composed_config_is_seen_with_the_keys_of_its_overrides_and_whom_it_is_for(
    led: Any, monkeypatch: pytest.MonkeyPatch, is_for_job: bool
) -> None:
    monkeypatch.setattr(_hydra.ConfigLoaderImpl, "_apply_overrides_to_config", staticmethod(_hydra._own_apply))
    seen: list[Any] = []
    monkeypatch.setattr(_hydra.Hydra, "get_sanitized_cfg", _hydra._own_sanitized)
    _hydra.after_composing(
        lambda config, keys, for_job: seen.append((config.lr, "hydra" in config, keys, for_job)),
        lambda config: OmegaConf.create({"shown": config.lr, "hydra": {}}),
    )
    assert _hydra.Hydra.get_sanitized_cfg(None, OmegaConf.create({"lr": 5}), "job") == {"shown": 5}
    led.load_configuration("config", ["lr=3", "+x=1", "db=postgres"], RunMode.RUN, from_shell=is_for_job)
    assert seen == [(3, True, ["lr", "x"], is_for_job)]
    _hydra.apply_overrides(parse("lr=4"), OmegaConf.create({"lr": 1}))
    assert len(seen) == 1


def test_our_settings_come_before_all_other_configs(led: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hydra.ConfigLoaderImpl, "_apply_overrides_to_config", staticmethod(_hydra._own_apply))
    monkeypatch.setattr(_hydra.Hydra, "get_sanitized_cfg", _hydra._own_sanitized)
    _hydra.after_composing(lambda config, keys, for_job: None, lambda config: config)
    _, made = listed(led, f"+{_hydra.SETTINGS.rpartition('/')[0]}=settings")
    assert [each.config_path for each in made.defaults][:1] == [_hydra.SETTINGS]


@proves("_core", "_instances")
def test_job_is_run_by_joblibs_own_function_with_the_singletons_of_this_process(loader: Any, tmp_path: Path) -> None:
    from hydra._internal.callbacks import Callbacks

    lines = [f"hydra.sweep.dir={tmp_path}/out", "hydra/job_logging=none", "hydra.output_subdir=null"]
    master = loader.load_configuration("config", lines, RunMode.MULTIRUN)
    config = loader.load_sweep_config(master, ["lr=5"])
    with open_dict(config):
        config.hydra.job.num, config.hydra.job.id = 3, "app_3"
        config.hydra.sweep.subdir = "three"
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    before = Singleton._instances

    def task(given: Any) -> Any:
        return given.lr, HydraConfig.get().job.num, Path(HydraConfig.get().runtime.output_dir).name

    resolvers: Any = BaseContainer._resolvers
    returned = _hydra.execute_job(context, config, task, number=3, master=master, resolvers=resolvers)
    assert Singleton._instances is before
    assert BaseContainer._resolvers.keys() == resolvers.keys()
    assert (returned.status, returned.return_value) == (JobStatus.COMPLETED, (5, 3, "three"))
    assert context.config_loader is loader


@proves("_return_value")
def test_outcome_of_a_job_is_had_without_being_printed_or_raised(capfd: pytest.CaptureFixture[str]) -> None:
    error = ValueError("no")
    failed, done = JobReturn(status=JobStatus.FAILED), JobReturn(status=JobStatus.COMPLETED)
    failed.return_value, done.return_value = error, 3
    assert _hydra.outcome_of(failed) is error
    assert _hydra.outcome_of(done) == vars(done)[_hydra.OUTCOME] == 3
    assert capfd.readouterr() == ("", "")


@proves("hydra", "basic_launcher")
def test_exit_of_a_task_is_heard_in_runs_of_hydras_own(
    loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra._internal import hydra as single
    from hydra._internal.core_plugins import basic_launcher

    for module in (single, basic_launcher):
        monkeypatch.setattr(module, "run_job", getattr(module, "run_job"))  # noqa: B009  # put back at the end
    heard: list[SystemExit] = []
    _hydra.hear_exits(heard.append)
    app: Any = GlobalHydra.instance().hydra
    quiet = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
    for start, place in ((app.run, "hydra.run.dir"), (app.multirun, "hydra.sweep.dir")):
        with pytest.raises(SystemExit, match="3"):
            start("config", lambda config: sys.exit(3), [f"{place}={tmp_path}/out", *quiet])
    assert [leaving.code for leaving in heard] == [3, 3]


@proves("_get_version")
def test_hydra_behaves_as_of_a_version_and_then_as_before() -> None:
    before = version.getbase()
    with _hydra.as_of("1.3"):
        assert str(version.getbase()) == "1.3"
    with _hydra.as_of(None):
        assert version.getbase() is None
    assert version.getbase() == before


def test_loader_of_the_app_is_replaced_for_all_that_asks_hydra(loader: Any) -> None:
    assert _hydra.current_loader() is loader
    other = object()
    _hydra.replace_loader(other)
    app: Any = GlobalHydra.instance()
    assert app.config_loader() is app.hydra.config_loader is _hydra.current_loader() is other
    GlobalHydra.instance().clear()
    assert _hydra.current_loader() is None


SINGLETONS = """
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from trainctl.compose import _hydra

Plugins.instance()
state = _hydra.singletons()
assert Plugins not in state["instances"]
_hydra.set_singletons(state)
assert Singleton._instances is state["instances"]
"""


def test_singletons_are_given_to_another_process_without_the_plugins() -> None:
    # in a process of its own: without its plugins Hydra scans for them again, and makes their classes again
    done = subprocess.run([sys.executable, "-c", SINGLETONS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@proves("_run_hydra", "Hydra", "utils")
def test_main_function_is_seen_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.yaml").write_text("lr: 0.1\n")

    @hydra.main(version_base="1.3", config_path=str(tmp_path), config_name="other")
    def main(config: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(sys, "argv", ["program.py", "-cn", "small", "lr=3"])
    seen: list[Any] = []

    def see(app: Any, name: str | None) -> None:
        composed = app.compose_config(name, ["lr=4"], RunMode.MULTIRUN, validate_sweep_overrides=False)
        seen.append((name, composed.lr))

    with _hydra.seeing_main(see):
        main()
    assert seen == [("small", 4)]
    assert GlobalHydra.instance().hydra is None
    assert sys.modules["hydra.main"]._run_hydra.__module__.startswith("hydra.")

    went_on = False
    with _hydra.ending_at_main():
        with contextlib.suppress(Exception):
            main()
        went_on = True
    assert not went_on
    assert sys.modules["hydra.main"]._run_hydra.__module__.startswith("hydra.")


UNKNOWN = """
import sys, hydra
hydra.__version__ = "1.9.0"
{code}
"""
APP = """
@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    print("lr", cfg.lr)

if __name__ == "__main__":
    main()
"""


def run_unknown(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "config.yaml").write_text("lr: 0.1\n")
    (tmp_path / "app.py").write_text(UNKNOWN.format(code=APP))
    return run_python(tmp_path, "app.py", *arguments)


def test_version_that_is_not_known_is_named_once_and_jobs_are_composed_in_full(tmp_path: Path) -> None:
    done = run_unknown(tmp_path, "-m", "hydra/launcher=slots", "hydra.launcher.slots=2", "lr=1,2,3")
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert text.count("Hydra 1.9.0") == 1, text
    logs = [path.read_text() for path in (tmp_path / "multirun").glob("**/job.log")]
    assert sorted("".join(logs).split("lr ")[1:]) == ["1\n", "2\n", "3\n"]


def test_source_is_refused_by_a_version_that_is_not_known(tmp_path: Path) -> None:
    done = run_unknown(tmp_path, "+from=run/earlier")
    assert done.returncode != 0
    assert "Hydra 1.9.0" in done.stderr
    assert run_unknown(tmp_path, "lr=5").stdout == "lr 5\n"
