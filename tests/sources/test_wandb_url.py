from __future__ import annotations

import pytest

from trainctl.errors import SourceError
from trainctl.sources.wandb_url import WandbRun, parse_wandb

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
