"""Messages between the launcher and one job, over a socket private to them."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_HEADER = struct.Struct("!Q")


class ChannelClosed(Exception):
    """The other side is gone: its process ended, or is about to."""


class Channel:
    """Whole objects over a stream socket. Both ends are processes of one launcher, so pickle is safe."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, *message: Any) -> None:
        """Send one message.

        Raises:
            ChannelClosed: the other side has closed.
        """
        self.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as one message, for the receiver's `receive_bytes`."""
        try:
            self._socket.sendall(_HEADER.pack(len(data)) + data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed from error

    def receive(self) -> tuple[Any, ...]:
        """Wait for one message.

        Raises:
            ChannelClosed: the other side closed, or died in the middle of a message.
        """
        message: tuple[Any, ...] = pickle.loads(self.receive_bytes())
        return message

    def receive_bytes(self) -> bytes:
        """Wait for one message that was sent as bytes."""
        (size,) = _HEADER.unpack(self._read(_HEADER.size))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self._socket.recv(min(size - len(data), 1 << 20))
            except ConnectionResetError as error:
                raise ChannelClosed from error
            if not piece:
                raise ChannelClosed
            data += piece
        return bytes(data)

    def close(self) -> None:
        self._socket.close()
