"""The private names of Hydra and its joblib launcher: this file alone uses any, for the versions that it knows.

`tests/compose/test_hydra_seam.py` says of each name what it must do. Importing this file changes nothing of Hydra.
With a version that is not known, `is_known` says so once, and its callers use the public API: every job is composed
in full by Hydra's own loader and run by `run_job`; what has no public API (`+from=`, `--app`, the file that set a
value) is refused in a sentence.

Why `lead` reads a frame: Hydra first looks for the group `from` inside `create_defaults_list`, and only that call has
the parsed overrides. A config source gets the path and nothing else; `sys.argv` says nothing about
`hydra.compose(overrides=...)` or about a source in a config file's defaults list; and no code of this package is on
the stack that could catch an exception and start over. Replacing `create_defaults_list` before that first call would
replace it in every app, and an app that does not use `+from` must run stock Hydra.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra import version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

KNOWN = ("1.3.", "1.4.")  # each minor release is to be looked at, and the contract tests run on it, before it is added
IS_KNOWN = hydra.__version__.startswith(KNOWN)
CAN_SHARE = hydra.__version__.startswith("1.3.")  # 1.4 may rewrite overrides (aliases) on their way into the config

if TYPE_CHECKING or IS_KNOWN:
    from hydra._internal import config_loader_impl, defaults_list
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import ConfigRepository
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra._internal.core_plugins.file_config_source import FileConfigSource
    from hydra._internal.hydra import Hydra

    _own_list = defaults_list._create_defaults_list
    _OwnDefaultsList = defaults_list.DefaultsList
    _own_apply = ConfigLoaderImpl._apply_overrides_to_config
    _own_sanitized = Hydra.get_sanitized_cfg
    _own_merge = ConfigLoaderImpl._compose_config_from_defaults_list

    class FileSource(FileConfigSource):
        """A config source of files, with names for what Hydra gives to its own sources alone."""

        file_name = staticmethod(FileConfigSource._normalize_file_name)
        header_of = staticmethod(FileConfigSource._get_header_dict)
        add_result = FileConfigSource._list_add_result


__all__ = ["ConfigLoaderImpl", "ConfigRepository", "FileConfigSource", "FileSource"]

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"  # its `_target_`
SETTINGS = "hydra/trainctl/settings"  # the config in which `trainctl.preset` declares the settings

log = logging.getLogger(__name__)


@cache
def is_known() -> bool:
    """Whether this version of Hydra is one whose private names are known; said once if it is not."""
    if not IS_KNOWN:
        log.warning("%s: every job is composed in full", unknown())
    return IS_KNOWN


def unknown() -> str:
    """Return the sentence that this version of Hydra is not known, and which ones are."""
    versions = " and ".join(each.rstrip(".") for each in KNOWN)
    return f"Hydra {hydra.__version__} is not a version that hydra-trainctl knows ({versions})"


# The Hydra object of this process, and its singletons.


def current_loader() -> Any:
    """Return the config loader of the Hydra app of this process; None where there is none."""
    return getattr(GlobalHydra.instance().hydra, "config_loader", None)


def replace_loader(loader: Any) -> None:
    """Replace the config loader of the Hydra app of this process."""
    app: Any = GlobalHydra.instance().hydra
    app.config_loader = loader


def singletons() -> Any:
    """Return a copy of Hydra's singletons that can be pickled."""
    return Singleton.get_state()


def set_singletons(state: Any) -> None:
    """Take Hydra's singletons from another process."""
    Singleton.set_state(state)


@contextlib.contextmanager
def as_of(version_base: str | None) -> Iterator[None]:
    """Make Hydra behave inside the block as the version base that a run has set."""
    base: Any = version.VersionBase.instance()
    before = base.version_base
    base.version_base = version._get_version(version_base) if version_base else None
    try:
        yield
    finally:
        base.version_base = before


# Composing step by step.


def overrides_dirname(overrides: Sequence[Override], options: DictConfig) -> str:
    """Return `hydra.job.override_dirname` of Hydra 1.3, which writes it when it composes; later ones resolve it."""
    dirname: Callable[..., str] = getattr(config_loader_impl, "get_overrides_dirname")  # noqa: B009  # 1.4 has none
    return dirname(
        overrides=overrides, kv_sep=options.kv_sep, item_sep=options.item_sep, exclude_keys=options.exclude_keys
    )


def apply_overrides(overrides: Sequence[Override], config: DictConfig) -> None:
    """Change values of a composed config as a command line says.

    Raises:
        ConfigCompositionException: one of them does not fit.
    """
    _own_apply(list(overrides), config)


def loader_of(sources: Iterable[tuple[str, str]]) -> ConfigLoaderImpl:
    """Return a config loader with a search path of (provider, path)."""
    search_path = ConfigSearchPathImpl()
    for provider, path in sources:
        search_path.append(provider, path)
    return ConfigLoaderImpl(search_path)


def added_by_plugins(sources: Iterable[tuple[str, str]]) -> set[str]:
    """Return the paths that the installed plugins of Hydra add to a search path of (provider, path)."""
    search_path = ConfigSearchPathImpl()
    for provider, path in sources:
        search_path.append(provider, path)
    before = {each.path for each in search_path.get_path()}
    for plugin in cast("list[type[SearchPathPlugin]]", Plugins.instance().discover(SearchPathPlugin)):
        with contextlib.suppress(Exception):  # somebody else's code, which may ask for what this path has not
            plugin().manipulate_search_path(search_path)
    return {str(each.path) for each in search_path.get_path()} - before


def repository_of(loader: Any, config_name: str | None, lines: Sequence[str]) -> Any:
    """Return the repository that a composition reads, with the search path that the config and overrides ask for."""
    return loader._parse_overrides_and_create_caching_repo(config_name, list(lines))[1]


def load_entry(loader: Any, entry: Any, repository: Any) -> Any:
    """Return the config of an entry of a defaults list (a `ConfigResult`), in its package."""
    return loader._load_single_config(entry, repository)


def create_defaults_list(
    repo: Any, config_name: str | None, overrides_list: list[Override], prepend_hydra: bool, skip_missing: bool
) -> Any:
    """Return what a composition merges, in order: `defaults`, `config_overrides`, `overrides.known_choices`."""
    return defaults_list.create_defaults_list(
        repo=repo,
        config_name=config_name,
        overrides_list=overrides_list,
        prepend_hydra=prepend_hydra,
        skip_missing=skip_missing,
    )


def merge_defaults(loader: Any, defaults: list[Any], repo: Any) -> DictConfig:
    """Merge the configs of a defaults list, whatever `lead` has put in place."""
    return _own_merge(loader, defaults, repo)


# Leading Hydra's composition through `sources/composition.py`.

Request = dict[str, Any]  # the arguments of `create_defaults_list`, by name


def is_making_a_list() -> bool:
    """Whether Hydra is making a defaults list further up in the stack."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is defaults_list.create_defaults_list.__code__:
            return True
        frame = frame.f_back
    return False


def lead(
    before: Callable[[Request], Any], after: Callable[[Request, list[Any]], Any], merge: Callable[..., DictConfig]
) -> None:
    """Lead Hydra's compositions through these functions, in this process, the one that is being made included.

    Args:
        before: gets a request for a defaults list; returns the list, or None to leave it to Hydra.
        after: gets the request and Hydra's entries; returns the list that replaces Hydra's, or None to keep that.
        merge: replaces `ConfigLoaderImpl._compose_config_from_defaults_list`.
    """

    def make(repo: Any, config_name: Any, overrides: Any, *others: Any, **options: Any) -> Any:
        request = _request(sys._getframe(1))
        made = None if request is None else before(request)
        if made is None:
            return _own_list(repo, config_name, overrides, *others, **options)
        vars(overrides).update(vars(made.overrides))  # Hydra checks in its own ones that each was used
        return made.defaults, made.defaults_tree

    def finish(**fields: Any) -> Any:
        request = _request(sys._getframe(1))
        made = None if request is None else after(request, fields["defaults"])
        return _defaults_list(**fields) if made is None else made

    seam: Any = defaults_list
    seam._create_defaults_list = make
    seam.DefaultsList = finish
    loader: Any = ConfigLoaderImpl
    loader._compose_config_from_defaults_list = merge


def _request(caller: FrameType) -> Request | None:
    """Return what Hydra was asked to make a defaults list of; None where the caller is somebody else."""
    code = defaults_list.create_defaults_list.__code__
    if caller.f_code is not code:
        return None
    return {name: caller.f_locals[name] for name in code.co_varnames[: code.co_argcount]}


def after_composing(
    see: Callable[[DictConfig, list[str], bool], None], show: Callable[[DictConfig], DictConfig]
) -> None:
    """Have `see` get each config that Hydra composes in this process from now on, the one that is being made included.

    Args:
        show: returns what `--cfg` prints of a config.
        see: gets the config, all keys that overrides of values name, and whether it is for a job or for being shown:
            not for a program that calls `hydra.compose`, nor for hydra-zen, which calls trainctl's callback.
    """

    def apply(overrides: list[Override], config: DictConfig) -> None:
        _own_apply(overrides, config)
        caller = sys._getframe(1)
        if caller.f_code is ConfigLoaderImpl._load_configuration_impl.__code__:
            see(config, [each.key_or_group for each in overrides], bool(caller.f_locals["from_shell"]))

    loader: Any = ConfigLoaderImpl
    loader._apply_overrides_to_config = staticmethod(apply)
    app: Any = Hydra
    app.get_sanitized_cfg = lambda self, cfg, cfg_type: _own_sanitized(self, show(cfg), cfg_type)
    seam: Any = defaults_list
    if seam.DefaultsList is _OwnDefaultsList:
        seam.DefaultsList = _defaults_list


def _defaults_list(**fields: Any) -> Any:
    """Make Hydra's own defaults list, with trainctl's settings before everything else.

    So they are there whichever config sets one, and before a structured config decides which keys there may be.
    """
    entries: list[Any] = fields["defaults"]
    for entry in [each for each in entries if each.config_path == SETTINGS]:
        entries.remove(entry)
        entries.insert(0, entry)
    return _OwnDefaultsList(**fields)


# Running a job.


class _ComposedLoader:
    """Stands in for the config loader where the config is there already."""

    def __init__(self, config: DictConfig) -> None:
        self._config = config

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        return self._config


@cache
def joblib_execute() -> tuple[Callable[..., JobReturn], dict[str, Any]] | None:
    """Return joblib's `execute_job`, and what it wants since 1.4; None where it is not known."""
    if not IS_KNOWN:
        return None
    from hydra_plugins.hydra_joblib_launcher import _core

    wraps_results = "wrap_result" in inspect.signature(_core.execute_job).parameters
    return _core.execute_job, {"task_function_unwrap_depth": 0, "wrap_result": False} if wraps_results else {}


def execute_job(
    context: HydraContext,
    config: DictConfig,
    task: TaskFunction,
    *,
    number: int,
    master: DictConfig,
    resolvers: Mapping[str, Any],
) -> JobReturn:
    """Run a composed job through joblib's `execute_job`, in this process, which has the launcher's singletons.

    `number` is `hydra.job.num`, `master` the sweep's config; `resolvers` are OmegaConf's, to stay as they are.
    """
    found = joblib_execute()
    if found is None:
        setup_globals()
        return run_job(task, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)
    run, more = found
    return run(
        idx=number,
        overrides=[],  # they are in the config
        hydra_context=dataclasses.replace(context, config_loader=cast("Any", _ComposedLoader(config))),
        config=master,
        task_function=task,
        singleton_state={"instances": Singleton._instances, "omegaconf_resolvers": resolvers},
        **more,
    )


def hear_exits(hear: Callable[[SystemExit], object]) -> None:
    """Have `hear` called when a task leaves a run of Hydra's own by `sys.exit`, which Hydra tells no callback of.

    It is called once each time, before the program ends by it.
    """
    if not IS_KNOWN:
        return
    from hydra._internal import hydra as single
    from hydra._internal.core_plugins import basic_launcher as sweep

    def run(*arguments: Any, **options: Any) -> JobReturn:
        try:
            return run_job(*arguments, **options)
        except SystemExit as leaving:
            hear(leaving)
            raise

    for module in cast("tuple[Any, Any]", (single, sweep)):
        module.run_job = run


OUTCOME = "_return_value"  # the field of a `JobReturn` that holds it


def outcome_of(returned: JobReturn) -> Any:
    """Return what a task function returned, or the exception it raised; `JobReturn.return_value` prints and raises."""
    return returned._return_value


def is_told_by_main() -> bool:
    """Whether what the caller raises would reach Hydra's `main` alone, which prints it and ends the program with 1.

    Every frame in between must be Hydra's or trainctl's. False if the user wants tracebacks: `HYDRA_FULL_ERROR=1`, a
    debugger.
    """
    if not IS_KNOWN:
        return False
    from hydra._internal import utils

    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not utils.run_and_report.__code__:
        if not str(frame.f_globals.get("__name__")).startswith(_COMPOSING_MODULES):
            return False
        frame = frame.f_back
    return frame is not None and not wants_everything()


def wants_everything() -> bool:
    """Whether Hydra's `main` shows all that led to an exception: a person asks for that, or a debugger runs."""
    if not IS_KNOWN:
        return True
    from hydra._internal import utils

    return bool(utils._is_env_set("HYDRA_FULL_ERROR") or utils.is_under_debugger())


_COMPOSING_MODULES = ("hydra._internal.", "hydra.core.", "hydra_plugins.hydra_trainctl.", "trainctl.")


# The command line of a program.


@contextlib.contextmanager
def seeing_main(see: Callable[[Any, str | None], None]) -> Iterator[None]:
    """Have every `@hydra.main` function inside the block lead to `see` instead of being run.

    Args:
        see: gets Hydra's own object for the program, which composes its configs, and the name of its primary config.
    """
    try:
        with _running_main(lambda **called: see(*_opened(**called))):
            yield
    finally:
        GlobalHydra.instance().clear()


class _MainCalled(BaseException):  # so that a program which catches each Exception does not go on
    pass


@contextlib.contextmanager
def ending_at_main() -> Iterator[None]:
    """End the block where a `@hydra.main` function is called inside it, instead of running that."""
    if not IS_KNOWN:
        yield
        return

    def end(**_called: Any) -> None:
        raise _MainCalled

    with contextlib.suppress(_MainCalled), _running_main(end):
        yield


@contextlib.contextmanager
def _running_main(run: Callable[..., None]) -> Iterator[None]:
    """Have `@hydra.main` functions call `run` with their arguments instead of Hydra."""
    module: Any = sys.modules["hydra.main"]  # `hydra.main` is the decorator
    original, module._run_hydra = module._run_hydra, run
    try:
        yield
    finally:
        module._run_hydra = original


def _opened(
    *, args: Any, task_function: Any, config_path: str | None, config_name: str | None, **_others: Any
) -> tuple[Any, str | None]:
    """Do what Hydra itself does before it composes (`hydra._internal.utils._run_hydra`)."""
    from hydra._internal import utils
    from hydra._internal.hydra import Hydra

    calling_file, calling_module = utils.detect_calling_file_or_module_from_task_function(task_function)
    path = args.config_path if args.config_path is not None else config_path
    search_path = utils.create_automatic_config_search_path(calling_file, calling_module, path)
    name = utils.detect_task_name(calling_file, calling_module)
    app = Hydra.create_main_hydra2(task_name=name, config_search_path=search_path)
    return app, args.config_name if args.config_name is not None else config_name
