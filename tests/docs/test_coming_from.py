"""The tables of the pages for users of other tools: what a row names is there, and what it claims is tested."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import ROOT, read_page
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from test_reference import reference

import trainctl
from trainctl.launch.cluster_settings import SlurmConf
from trainctl.session.live import Live
from trainctl.sources.kinds import KINDS

__all__ = ["reference"]

PAGES = sorted((ROOT / "docs" / "coming-from").glob("*.md"))
# What a row claims beyond the blocks of its page is shown by these tests, by the beginning of its old cell.
SHOWN_BY = {
    "deep-learning-project-config": {
        "its legend": "test_pairs_are_found_in_the_groups_of_the_program",
        "`-o model.learn_rate": "test_single_run_is_adapted_before_it_is_recorded",
    },
    "hydra-joblib-launcher": {
        "`n_jobs: 4`": "test_each_job_is_completed_once_whatever_is_killed_and_whenever",
        "`n_jobs: -1`": "test_auto_without_gpus_is_one_cpu_slot_per_two_cores",
        "GPUs by hand": "test_slot_shows_its_job_only_its_devices",
        "`timeout`": "test_job_that_runs_too_long_is_ended_with_all_its_children",
        "`backend`": "test_kill_9_of_a_job_ends_its_children_and_not_the_sweep",
        "the first failed": "test_fail_fast_starts_no_more_jobs",
        "a worker that": "test_retried_job_that_succeeds_is_done",
        "output of all": "test_job_log_holds_what_children_and_c_code_print",
        "a new `multirun": "test_kill_9_of_the_launcher_is_resumed_by_the_same_command",
    },
    "hydra-optuna-sweeper": {
        "directories": "test_optuna_sweep_resumes_by_stored_return_values",
        "a study": "test_optuna_sweep_resumes_by_stored_return_values",
        "watching": "test_parameters_are_drawn_against_what_came_out_and_runs_are_brushed",
    },
    "hydra-submitit-launcher": {
        "`partition`": "test_settings_of_submitit_that_are_said_to_be_the_same_are_there",
        "`timeout_min`": "test_time_limit_of_an_allocation_ends_no_job",
        "`array_parallelism`": "test_settings_of_submitit_that_are_said_to_be_the_same_are_there",
        "`max_num_timeout`": "test_time_limit_of_an_allocation_ends_no_job",
        "`nodes`": "test_job_of_two_nodes_has_one_run_dir_and_resumes_on_both",
        "`tasks_per_node`": "test_job_of_two_nodes_has_one_run_dir_and_resumes_on_both",
        "`submitit_folder`": "test_cancelled_allocation_loses_no_job",
        "`checkpoint`": "test_preempted_job_goes_on_from_its_checkpoint_and_ends_like_one_that_was_never_interrupted",
        "logs": "test_job_log_holds_what_children_and_c_code_print",
    },
    "micro_config": {
        "`ConfigScriptModel`": "test_names_of_all_versions_are_there",
        "`deep_replace": "test_walk_through_of_micro_config_works_on_digits",
        "`convert_path": "test_walk_through_of_micro_config_works_on_digits",
        "`meta_unroll`": "test_meta_unroll_of_a_class_is_called_once_for_each_object",
        "`metaconfig.unrolled`": "test_config_that_several_refer_to_is_unrolled_once_for_each_meta",
    },
    "mlrunner": {
        "`-o DIR`": "test_readmes_example_runs_the_same_commands",
        "`-r 0 1`": "test_slot_shows_its_job_only_its_devices",
        "`--sample": "test_sample_is_the_same_by_seed_in_order_and_of_each_grid",
        "`-d`": "test_debug_runs_the_first_job_and_shows_what_it_prints",
        "`{key}`": "test_placeholders_become_interpolations",
        "`{_output}`": "test_readmes_example_runs_the_same_commands",
        "`resource`": "test_documents_become_grids_with_titles_and_commands",
        "`log.test": "test_readmes_scenario_killed_in_the_middle_has_the_table_of_one_that_was_not",
        "`param`": "test_readmes_scenario_killed_in_the_middle_has_the_table_of_one_that_was_not",
    },
    "prefigure": {
        "`imports`": "test_sources_are_an_axis_of_a_sweep_and_are_frozen_when_it_begins",
        "command line over": "test_sources_are_an_axis_of_a_sweep_and_are_frozen_when_it_begins",
        "arguments that must": "test_secrets_and_omitted_keys_are_told_to_nobody",
        "`OFC(args": "test_locks_and_bounds_hold_whoever_asks",
        "sliders": "test_modifiers_become_controls_and_keys_keep_all_their_letters",
        "writing into": "test_edit_files_one_request_of_what_was_changed",
        "`OFC_USERNAME`": "test_password_is_checked_apart_and_gives_a_browser_a_cookie",
    },
    "ray-tune": {
        "`resources=": "test_auto_derives_slots_from_gpus_per_job_and_jobs_per_gpu",
        "`Tuner.restore": "test_kill_9_of_the_launcher_is_resumed_by_the_same_command",
        "a cluster": "test_each_job_of_a_sweep_runs_once_on_a_device_of_its_own",
        "a checkpoint in": "test_resume_folds_the_changelog_and_repeats_later_edits_at_their_steps",
    },
    "trainconfig": {
        "`C.close()`": "test_job_that_said_done_is_done_and_skipped_at_the_next_time",
        "`C.a.b`": "test_now_shows_every_value_resolved",
        "`initial_step`": "test_resume_by_step_alone_is_the_same",
        "`editable`": "test_not_editable_run_refuses_every_edit",
        "the control panel": "test_command_shows_the_page_on_a_port_under_a_name_and_below_a_path",
    },
    "wandb-sweeps": {
        "`method: random`": "test_sample_is_the_same_by_seed_in_order_and_of_each_grid",
        "`method: bayes`": "test_optuna_sweep_resumes_by_stored_return_values",
        "`wandb agent`": "test_slot_shows_its_job_only_its_devices",
        "agents on": "test_each_job_of_a_sweep_runs_once_on_a_device_of_its_own",
        "pausing": "test_stop_lets_running_jobs_finish",
        "resuming": "test_kill_9_of_the_launcher_is_resumed_by_the_same_command",
    },
}
_CODE = re.compile(r"`([^`]+)`")
_SETTING = re.compile(r"\b((?:hydra\.launcher|hydra\.sweeper|trainctl)(?:\.\w+)+)")


def rows_of(page: Path) -> Iterator[tuple[str, str]]:
    """Return the old and the new cell of each row of a page's tables."""
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 2 and cells[1] != "new":
            yield cells[0], cells[1]


ROWS = [(page.stem, old, new) for page in PAGES for old, new in rows_of(page)]


def unknown_in(new: str, settings: set[str], commands: dict[str, str]) -> list[str]:
    """Return what a cell names that is not there: settings, commands and options, attributes, options of a group."""
    unknown = []
    for code in _CODE.findall(new):
        keys = _SETTING.findall(code)
        unknown += [
            key for key in keys if not any(f"{one}.".startswith(f"{key}.") for one in settings) and not is_public(key)
        ]
        for word in re.findall(r"@?\blive\.(\w+)", code):
            unknown += [f"live.{word}"] if not hasattr(Live, word) else []
        for group, option in re.findall(r"(hydra/(?:launcher|sweeper))=(\w+)", code):
            unknown += [code] if f"{option}.yaml" not in ConfigStore.instance().list(group) else []
        unknown += [code for scheme in re.findall(r"\+from(?:@\w+)?=\[?(\w+)/", code) if scheme not in KINDS]
        if command := re.match(r"trainctl ([a-z]+)\b(.*)", code):
            said = commands.get(command[1], "")
            options = re.findall(r"(?<!\S)--?[a-z][\w-]*", command[2])
            unknown += [code] if not said or any(option not in said for option in options) else []
    return unknown


def is_shown(page: Path, new: str) -> bool:
    """Whether a block that is run on a row's own page has something that the row names."""
    run = "\n".join(block.text + (block.prints or "") for block in read_page(page).blocks if block.is_run)
    named = (re.match(r"'?(trainctl [a-z]+|[^\s=]+)", code) for code in _CODE.findall(new))
    return any(name is not None and name[1] in run for name in named)


def is_public(key: str) -> bool:
    """Whether a dotted name is something of the package that users may name."""
    head, *rest = key.split(".")
    found: Any = trainctl
    for at, name in enumerate(rest):
        if hasattr(found, name):
            found = getattr(found, name)
            continue
        try:
            found = importlib.import_module(".".join([head, *rest[: at + 1]]))
        except ImportError:
            return False
    return True


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """What the reference says of each command, by its name."""
    parts = re.split(r"^### `?trainctl (\w+)`?", (ROOT / "docs/reference/commands.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("page", "old", "new"), ROWS, ids=[f"{page}: {old}"[:60] for page, old, _ in ROWS])
def test_what_a_row_names_is_there(page: str, old: str, new: str, reference: Any, commands: dict[str, str]) -> None:
    Plugins.instance()  # which fills the groups
    settings = {each.key for _, _, many in reference.sections() for each in many}
    assert unknown_in(new, settings, commands) == []


def test_each_claim_is_shown_by_its_page_or_by_a_test() -> None:
    tests = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    shown_by = {(page, old): test for page, rows in SHOWN_BY.items() for old, test in rows.items()}
    assert sorted(set(shown_by.values()) - tests) == [], "tests that are not there"
    open_claims, used = [], set()
    for path in PAGES:
        for old, new in rows_of(path):
            told = {(page, start) for page, start in shown_by if page == path.stem and old.startswith(start)}
            used |= told
            if not (told or new.startswith("not here") or is_shown(path, new)):
                open_claims.append(f"{path.stem}: {old} | {new}")
    assert open_claims == []
    assert sorted(shown_by.keys() - used) == [], "rows that are not there"


def test_settings_of_submitit_that_are_said_to_be_the_same_are_there() -> None:
    page = ROOT / "docs" / "coming-from" / "hydra-submitit-launcher.md"
    same = {name for old, new in rows_of(page) if new.startswith("the same") for name in re.findall(r"`(\w+)`", old)}
    ours = {each.name for each in dataclasses.fields(SlurmConf)}
    assert {"partition", "mem_gb", "array_parallelism", "max_num_timeout", "nodes"} <= same
    assert sorted(same - ours) == []


def test_names_that_are_not_there_are_found() -> None:
    known = {"trainctl.panel.port", "hydra.sweeper.sample"}
    wrong = "`trainctl.panel.prot=1`, `hydra/launcher=slot`, `live.stop()`, `+from=xml/FILE`, `trainctl lst`"
    assert unknown_in("`trainctl.panel.port=1`, `live.step()`, `trainctl ls --all`", known, {"ls": "--all"}) == []
    assert len(unknown_in(wrong, known, {"ls": "--all"})) == 5
    assert unknown_in("`trainctl ls --now`", known, {"ls": "--all"}) == ["trainctl ls --now"]
