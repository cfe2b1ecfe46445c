"""What a fresh interpreter does for `start=spawn`: `python -m trainctl.launch.local.spawn zygote|job …`."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from trainctl.attempt.output import open_missing_streams
from trainctl.launch.local.channel import Channel
from trainctl.launch.local.zygote import Zygote


def become_interpreter(connection: socket.socket, parent: int) -> NoReturn:
    """Replace this child of the zygote by a fresh interpreter that becomes the job."""
    connection.set_inheritable(True)
    arguments = ["-m", "trainctl.launch.local.spawn", "job", str(connection.fileno()), str(parent)]
    os.execv(sys.executable, [sys.executable, *arguments])


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


if __name__ == "__main__":
    main()
