"""A fresh interpreter for `start=spawn`: the zygote, or a job."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import NoReturn

from trainctl.attempt.output import open_missing_streams
from trainctl.launch.local.channel import Channel
from trainctl.launch.local.zygote import Zygote

# The interpreter gets its import path as an argument, so that PYTHONPATH of the job's children is the user's.
_BEGIN = f"import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {__name__} import main; main()"


def command_of(role: str, *arguments: int) -> list[str]:
    """Return the command of a fresh interpreter with the import path of this process."""
    return [sys.executable, "-c", _BEGIN, json.dumps(sys.path, default=os.fspath), role, *map(str, arguments)]


def become_interpreter(connection: socket.socket, parent: int) -> NoReturn:
    """Replace this child of the zygote by a fresh interpreter that becomes the job."""
    connection.set_inheritable(True)
    os.execv(sys.executable, command_of("job", connection.fileno(), parent))


def main() -> None:
    """Be the zygote, or a job."""
    open_missing_streams()
    connection = socket.socket(fileno=int(sys.argv[2]))
    if sys.argv[1] == "zygote":
        Zygote(connection, become_interpreter).serve()
        return
    from trainctl.launch.local.job import become_job
    from trainctl.launch.local.payload import unpack_context

    connection.set_inheritable(False)
    channel = Channel(connection)
    parent = int(sys.argv[3])
    become_job(channel, lambda: unpack_context(channel.receive_bytes()), parent=parent, forked=False)
