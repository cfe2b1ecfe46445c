"""The process that asks W&B or MLflow: `python -m trainctl.sources.fetching KIND SOURCE` prints one JSON document."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from trainctl.config.loaded import Loaded
from trainctl.errors import SourceError

_MODULES = {"mlflow": "mlflow", "wandb": "wandb", "wandb_offline": "wandb"}


def main() -> None:
    """Read the source that the command line names; an error is an answer too."""
    kind, source = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(2, 1)  # clients print what they like
    record = _read(kind, source)
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        json.dump(record, file)
    sys.stdout.flush()
    os._exit(0)  # what the clients would still do at exit is of no use, and may take long


def _read(kind: str, source: str) -> dict[str, Any]:
    try:
        try:
            if kind == "mlflow":
                from trainctl.sources.mlflow import read_mlflow as read
            elif kind == "wandb":
                from trainctl.sources.wandb import read_wandb as read
            else:
                from trainctl.sources.wandb import read_wandb_offline as read
        except ImportError as error:
            raise SourceError(
                f"+from={source} needs {_MODULES[kind]}, which cannot be imported ({error}); "
                f"install hydra-trainctl[{_MODULES[kind]}]"
            ) from error
        loaded: Loaded = read(source, source.partition("/")[2])
    except SourceError as error:
        return {"error": str(error)}
    return loaded.to_dict()


if __name__ == "__main__":
    main()
