"""What a fresh interpreter does for `start=spawn`: `python -m trainctl.launch.spawned zygote|job …`."""

from __future__ import annotations

import os
import socket
import sys
from typing import NoReturn

from trainctl.launch.channel import Channel
from trainctl.launch.zygote import Zygote


def become_interpreter(connection: socket.socket, parent: int) -> NoReturn:
    """Replace this child of the zygote by a fresh interpreter that becomes the job."""
    connection.set_inheritable(True)
    arguments = ["-m", "trainctl.launch.spawned", "job", str(connection.fileno()), str(parent)]
    os.execv(sys.executable, [sys.executable, *arguments])


def main() -> None:
    """Be the zygote, or a job."""
    connection = socket.socket(fileno=int(sys.argv[2]))
    if sys.argv[1] == "zygote":
        Zygote(connection, become_interpreter).serve()
        return
    from trainctl.launch.job import become_job
    from trainctl.launch.payload import unpack_context

    connection.set_inheritable(False)
    channel = Channel(connection)
    parent = int(sys.argv[3])
    become_job(channel, lambda: unpack_context(channel.receive_bytes()), parent=parent, forked=False)


if __name__ == "__main__":
    main()
