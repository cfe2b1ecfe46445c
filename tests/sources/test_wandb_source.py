"""Configs of W&B runs: the real client against a stand-in server, and against what it writes when offline."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from earlier_runs import Compose
from omegaconf import OmegaConf
from wandb_server import KEY, Server, serving

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.loaded import Loaded
from trainctl.config.masking import OMITTED
from trainctl.errors import SourceError
from trainctl.sources import remote
from trainctl.sources.kinds import read_source
from trainctl.track import facts

pytest.importorskip("wandb")

from trainctl.sources.wandb import WandbRun, parse_wandb

ARTIFACT = (
    "lr: 1.0\nlr_end: ${lr}\nname: null\nsteps: 10\nbetas:\n- 1.0\n- 0.5\napi_key: OMITTED\ntrainctl:\n  seed: 3\n"
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    for name in list(os.environ):
        if name.startswith("WANDB_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path))  # where the client keeps what it wants to remember
    remote._read.cache_clear()  # a port may be that of an earlier test's server
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def test_config_of_a_run_on_a_server(server: Server, made: Compose) -> None:
    server.configs["1a2b"] = {"lr": 1, "betas": [1, 0.5], "norm": {"momentum": None}, "name": "${oc.env:HOME}"}
    loaded = read_source("wandb/ada/digits/1a2b")
    assert loaded.origin == f"ada/digits/1a2b on {server.url}"
    config = made("+from=wandb/ada/digits/1a2b", "steps=3")
    assert (config.lr, type(config.lr), config.betas, config.name) == (1.0, float, [1.0, 0.5], "${oc.env:HOME}")
    assert (config.steps, config.norm.momentum) == (3, None)
    assert server.operations.count("query Run") == 1  # asked once for both


def test_typed_copy_that_trainctl_left_there_comes_first(server: Server, made: Compose) -> None:
    server.configs["1a2b"] = {"lr": 1, "whatever": 3}
    server.files["1a2b"] = {"trainctl/config.yaml": ARTIFACT}
    config = made(f"+from='wandb/{server.url}/ada/digits/runs/1a2b/overview?workspace=user-ada'", "lr=2.0")
    assert (config.betas, config.api_key, config.lr_end) == ([1.0, 0.5], "from the target", 2.0)
    assert "whatever" not in config


def test_last_edit_that_is_recorded_on_a_server_counts(server: Server, made: Compose) -> None:
    server.configs["1a2b"] = {"lr": 1}
    log = Changelog({"lr": 1.0, "name": "a", "out": "/there", "trainctl": {"seed": 3}}, [Edit(7, {"lr": 0.25})])
    server.files["1a2b"] = {"trainctl/config.yaml": ARTIFACT, "trainctl/changelog.yaml": dumps(log)}
    config = made("+from=wandb/ada/digits/1a2b")
    assert (config.lr, config.name) == (0.25, "a")
    assert OmegaConf.to_container(config)["out"] == "${hydra:runtime.output_dir}/checkpoints"  # not where that run was


def test_key_is_shown_to_no_other_server_than_its_own(server: Server) -> None:
    with (
        serving() as other,
        pytest.raises(SourceError, match=f"WANDB_API_KEY is for {server.url}; set WANDB_BASE_URL="),
    ):
        read_source(f"wandb/{other.url}/ada/digits/runs/1a2b")
    assert other.operations == []


def test_what_trackers_write_for_a_secret_is_what_is_left_out_here() -> None:
    assert facts.OMITTED == OMITTED


def test_run_that_is_not_there_is_refused_in_one_sentence(server: Server) -> None:
    with pytest.raises(
        SourceError, match=r"^\+from=wandb/ada/digits/none: .* cannot be read from .*Could not find run"
    ):
        read_source("wandb/ada/digits/none")
    with pytest.raises(SourceError, match="names no W&B run; it is given as ENTITY/PROJECT/RUN"):
        read_source("wandb/ada/digits")


def test_server_that_nobody_answers_on_is_refused_in_one_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", address)
        with pytest.raises(SourceError, match=f"cannot be read from {address}, nothing was loaded: Connection refused"):
            read_source("wandb/ada/digits/1a2b")


@pytest.mark.slow
def test_server_that_never_answers_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.silence.clear()
    monkeypatch.setenv("TRAINCTL_FROM_TIMEOUT_S", "3")
    with pytest.raises(SourceError, match="no answer within 3 s, nothing was loaded; TRAINCTL_FROM_TIMEOUT_S gives it"):
        read_source("wandb/ada/digits/1a2b")
    monkeypatch.setenv("TRAINCTL_FROM_TIMEOUT_S", "soon")
    with pytest.raises(SourceError, match="TRAINCTL_FROM_TIMEOUT_S='soon' is not a number of seconds"):
        read_source("wandb/ada/digits/1a2b")


OFFLINE = """
import wandb
run = wandb.init(
    project="digits",
    config={"lr": 1.0, "norm": {"momentum": float("nan"), "name": "${oc.env:HOME}"}, "gone": 1, "betas": [1.0, 0.5],
            "name": "x" * 100_000},
)
run.config.update({"steps": 77}, allow_val_change=True)
run.config.update({"norm": {"momentum": 0.5, "name": "${oc.env:HOME}"}}, allow_val_change=True)
run.log({"loss": 1.0})
run.finish()
"""


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the real client leaves when it is offline."""
    path = tmp_path_factory.mktemp("offline")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(path)}
    subprocess.run([sys.executable, "-c", OFFLINE], cwd=path, env=environment, check=True, timeout=120)
    (run,) = (path / "wandb").glob("offline-run-*")
    return run


@pytest.mark.slow
def test_config_of_an_offline_run(offline_run: Path, made: Compose) -> None:
    loaded = read_source(f"wandb_offline/{offline_run}")
    assert loaded == Loaded(
        source=f"wandb_offline/{offline_run}",
        origin=str(offline_run),
        values={
            "lr": 1.0,
            "norm": {"momentum": 0.5, "name": "\\${oc.env:HOME}"},
            "gone": 1,
            "betas": [1.0, 0.5],
            "name": "x" * 100_000,
            "steps": 77,
        },
        form="plain",
        is_record=True,
    )
    config = made(f"+from=wandb_offline/{offline_run}", "+from_unknown=drop")
    assert (config.steps, config.norm.name, "gone" in config) == (77, "${oc.env:HOME}", False)


def test_typed_copy_in_an_offline_run_comes_first(offline_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run" / "files" / "trainctl" / "config.yaml"
    copy.parent.mkdir(parents=True)
    copy.write_text("lr: 1.0\nloss: .nan\n")
    loaded = read_source(f"wandb_offline/{tmp_path / 'run'}")
    assert (loaded.form, loaded.is_own, loaded.values["lr"], math.isnan(loaded.values["loss"])) == (
        "exact",
        False,
        1.0,
        True,
    )


def test_directory_that_is_no_offline_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not the directory of an offline W&B run"):
        read_source(f"wandb_offline/{tmp_path}")
    (tmp_path / "x.wandb").write_bytes(b"nothing of the kind")
    with pytest.raises(SourceError, match=r"x\.wandb' is not a log of W&B"):
        read_source(f"wandb_offline/{tmp_path}")


def test_log_that_was_cut_off_is_read_as_far_as_it_goes(offline_run: Path, tmp_path: Path) -> None:
    (log,) = offline_run.glob("*.wandb")
    (tmp_path / "x.wandb").write_bytes(log.read_bytes()[:-40])
    assert read_source(f"wandb_offline/{tmp_path}").values["lr"] == 1.0


RUN = WandbRun("ada", "my-digits", "1a2b3c")


@pytest.mark.parametrize(
    "text",
    [
        "ada/my-digits/1a2b3c",
        " ada/my-digits/1a2b3c ",
        "ada/my-digits/runs/1a2b3c",
        "/ada/my-digits/runs/1a2b3c/",
        "https://wandb.ai/ada/my-digits/runs/1a2b3c",
        "https://wandb.ai/ada/my-digits/runs/1a2b3c/overview",
        "https://wandb.ai/ada/my-digits/runs/1a2b3c/files/code/train.py",
        "https://wandb.ai/ada/my-digits/runs/1a2b3c?workspace=user-ada",
        "https://wandb.ai/ada/my-digits/runs/1a2b3c/logs?nw=nwuserada#top",
        "https%3A%2F%2Fwandb.ai%2Fada%2Fmy-digits%2Fruns%2F1a2b3c",
        "http://app.wandb.ai/ada/my-digits/runs/1a2b3c",
    ],
)
def test_run_is_read_from_whatever_a_person_copies(text: str) -> None:
    assert parse_wandb(text) == RUN


def test_server_of_ones_own_is_kept() -> None:
    found = parse_wandb("https://Wandb.Lab.example:8443/ada/p/runs/r1/workspace")
    assert (found.host, found.path) == ("https://wandb.lab.example:8443", "ada/p/r1")
    assert parse_wandb("http://localhost/ada/my project/runs/r").project == "my project"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no W&B run; it is given as ENTITY/PROJECT/RUN"),
        ("ada/digits", "names no W&B run"),
        ("ada/digits/a/b", "names no W&B run"),
        ("https://wandb.ai/ada/digits", "names no W&B run"),
        ("https://wandb.ai/ada/digits/sweeps/abc", r"is not a page of a run \(…/runs/ID\)"),
        ("https://wandb.ai/ada/digits/runs/", "is not a page of a run"),
        ("ada/../runs/x", "names no W&B run"),
        ("ada/digits/runs/a;b", "names no W&B run"),
        ("file:///etc/passwd/a/runs/b", "is not an address of a W&B server"),
        ("https://user:pw@wandb.ai/a/b/runs/c", "is not an address of a W&B server"),
        ("https://[::1/a/b/runs/c", "is not an address"),
        ("https://host:99999/a/b/runs/c", "is not an address"),
    ],
)
def test_what_names_no_run_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        parse_wandb(text)
