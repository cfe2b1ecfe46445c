from __future__ import annotations

import os
import socket

from trainctl.launch.jobs import Hearing


def test_connection_that_passes_from_one_kind_to_another_is_still_heard() -> None:
    hearing, (ours, theirs) = Hearing(), socket.socketpair()
    listener, executor, host = os.pipe(), object(), object()
    hearing.keep("hosts", [])
    hearing.keep("coming", [(listener[0], executor), (ours.fileno(), executor)])
    hearing.keep("hosts", [(ours.fileno(), host)])
    hearing.keep("coming", [(listener[0], executor)])

    theirs.send(b".")
    assert hearing.wait(5) == [host]
    ours.close()
    theirs.close()


def test_number_that_was_closed_and_is_another_connection_now_is_heard() -> None:
    hearing, (ours, theirs) = Hearing(), socket.socketpair()
    listener, executor = os.pipe(), object()
    hearing.keep("coming", [(listener[0], executor), (ours.fileno(), executor)])
    number = ours.fileno()
    ours.close()
    theirs.close()
    ours, theirs = socket.socketpair()
    again = ours if ours.fileno() == number else theirs
    assert again.fileno() == number
    hearing.keep("coming", [(listener[0], executor), (number, executor)])

    (theirs if again is ours else ours).send(b".")
    assert hearing.wait(5) == [executor]
    hearing.drop(number)
    assert hearing.wait(0) == []
    ours.close()
    theirs.close()
