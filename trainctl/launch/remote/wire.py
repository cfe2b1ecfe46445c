"""Connections between a launcher and its agents: TCP, opened only with the secret of the sweep.

Both sides prove that they know the secret before anything is read from either (HMAC-SHA256 over two nonces, RFC 2104).
Pickles are exchanged only after that. What follows is not encrypted: it is for the network inside a cluster.

A launcher writes its address and the secret into a file of the sweep dir, where its agents read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainctl.attempt.host import routed_address
from trainctl.errors import UnreadableError
from trainctl.rundir import files
from trainctl.rundir.beat import VARIABLE, Beat

NONCE_BYTES = 32
_MOST_HELLO = 4096
_PATIENCE_S = 10.0  # for each step of a handshake
_MOST_AT_ONCE = 64  # handshakes: a stranger who connects and says nothing holds one for a while
_SIZE = struct.Struct("!I")
_SILENT_S = 60  # after which a peer that does not acknowledge is given up
SEEN, UNSEEN = "seen", "not seen"  # whether a node sees its launcher's locks


class WrongPeer(Exception):
    """The other side does not know the secret, or refused."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a launcher listens for its agents, and what opens it.

    Attributes:
        hosts: names and addresses of the launcher's machine, to be tried in this order.
        secret: nobody else's; it is never in argv or in a log.
    """

    hosts: tuple[str, ...]
    port: int
    secret: bytes

    def text(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps({"hosts": self.hosts, "port": self.port, "secret": self.secret.hex()})

    @classmethod
    def read(cls, text: str) -> Address:
        """Read what `text` returned.

        Raises:
            ValueError: it is something else.
        """
        try:
            found = json.loads(text)
            return cls(tuple(map(str, found["hosts"])), int(found["port"]), bytes.fromhex(found["secret"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not the address of a launcher: {error}") from error


class AgentListener:
    """Takes the connections of agents; `arrived` hands them over once they have proved the secret.

    Handshakes run in threads of their own, so that the launcher's loop waits for none of them.
    """

    def __init__(self, host: str = "") -> None:
        self._socket = socket.create_server((host, 0), backlog=256)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._ready: deque[tuple[socket.socket, dict[str, Any]]] = deque()
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        names = (host,) if host else own_names()
        self.address = Address(names, self._socket.getsockname()[1], secrets.token_bytes(NONCE_BYTES))
        threading.Thread(target=self._accept, name="trainctl-agents", daemon=True).start()

    def fileno(self) -> int:
        """Readable when a connection has arrived."""
        return self._wake_read

    def arrived(self) -> list[tuple[socket.socket, dict[str, Any]]]:
        """Return the new connections, each with its greeting."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        found = []
        while self._ready:
            found.append(self._ready.popleft())
        return found

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            if not self._places.acquire(blocking=False):
                connection.close()  # agents try again
                continue
            threading.Thread(target=self._greet, args=(connection,), name="trainctl-agent", daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        try:
            hello = accept_peer(connection, self.address.secret)
        except (OSError, WrongPeer):
            connection.close()
            return
        finally:
            self._places.release()
        self._ready.append((connection, hello))
        with contextlib.suppress(OSError):  # a full pipe wakes the loop as well
            os.write(self._wake_write, b".")


def connect(address: Address, hello: dict[str, Any], *, is_wanted: Callable[[], bool] = lambda: True) -> socket.socket:
    """Connect to a launcher and send a greeting; its names are tried in order.

    Raises:
        OSError: none of them answers. WrongPeer: it does not know the secret, or takes nobody.
    """
    failed: Exception = OSError(f"none of {', '.join(address.hosts)} answers")
    for host in address.hosts:
        if not is_wanted():
            break
        try:
            connection = socket.create_connection((host, address.port), timeout=_PATIENCE_S)
        except OSError as error:
            failed = error
            continue
        try:
            return _introduce(connection, address.secret, hello)
        except (OSError, WrongPeer) as error:
            connection.close()
            failed = error
    raise failed


def _introduce(connection: socket.socket, secret: bytes, hello: dict[str, Any]) -> socket.socket:
    launcher_nonce, agent_nonce = _read(connection, NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
    connection.sendall(agent_nonce + _proof(secret, b"agent", launcher_nonce, agent_nonce))
    proof = _proof(secret, b"launcher", agent_nonce, launcher_nonce)
    if not hmac.compare_digest(_read(connection, NONCE_BYTES), proof):
        raise WrongPeer("it is not the launcher of this sweep")
    text = json.dumps(hello).encode()
    connection.sendall(_SIZE.pack(len(text)) + text)
    return keep_alive(connection)


def accept_peer(connection: socket.socket, secret: bytes) -> dict[str, Any]:
    """Exchange proofs of the secret with the peer that has connected, and return its greeting.

    Raises:
        WrongPeer: it does not know the secret. OSError: it has gone, or says nothing.
    """
    connection.settimeout(_PATIENCE_S)
    launcher_nonce = secrets.token_bytes(NONCE_BYTES)
    connection.sendall(launcher_nonce)
    agent_nonce, proof = _read(connection, NONCE_BYTES), _read(connection, NONCE_BYTES)
    if not hmac.compare_digest(proof, _proof(secret, b"agent", launcher_nonce, agent_nonce)):
        raise WrongPeer("it does not know the secret of this sweep")
    connection.sendall(_proof(secret, b"launcher", agent_nonce, launcher_nonce))
    (size,) = _SIZE.unpack(_read(connection, _SIZE.size))
    if size > _MOST_HELLO:
        raise WrongPeer("its greeting is too long")
    try:
        hello = json.loads(_read(connection, size))
    except ValueError as error:
        raise WrongPeer("its greeting is not JSON") from error
    if not isinstance(hello, dict):
        raise WrongPeer("its greeting is not a mapping")
    keep_alive(connection)
    return hello


def keep_alive(connection: socket.socket) -> socket.socket:
    """Set socket options: detect a lost machine, and send small messages at once."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        *(("TCP_KEEPIDLE", _SILENT_S // 3), ("TCP_KEEPINTVL", _SILENT_S // 6), ("TCP_KEEPCNT", 4)),
        ("TCP_USER_TIMEOUT", _SILENT_S * 1000),
    ):
        option = getattr(socket, name, None)  # not on every system
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection


def own_names() -> tuple[str, ...]:
    """Return the names by which other machines may reach this one: its host name, then its address."""
    names = (socket.getfqdn(), socket.gethostname(), routed_address(), "127.0.0.1")  # the last for agents on this one
    return tuple(dict.fromkeys(name for name in names if name is not None))


def _proof(secret: bytes, role: bytes, first: bytes, second: bytes) -> bytes:
    return hmac.new(secret, role + first + second, hashlib.sha256).digest()


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the other side has closed")
        data += piece
    return data


def look_for_locks(launcher: Path) -> str:
    """Return whether a launcher's locks are seen here; if not, its beat stands for those of jobs started later."""
    beat = Beat(str(launcher))
    if beat.is_seen:
        os.environ.pop(VARIABLE, None)
        return SEEN
    os.environ[VARIABLE] = beat.path
    return UNSEEN


def addresses_in(directory: Path) -> list[Path]:
    """Return the files in which the launchers of a sweep say where they listen."""
    return sorted(directory.glob("*.json"))


def read_addresses(path: Path) -> list[tuple[Path, Address]]:
    """Read the addresses in a directory or a file, each with its path; what its launcher has removed is left out."""
    found = []
    for each in addresses_in(path) if path.is_dir() else [path]:
        with contextlib.suppress(UnreadableError, FileNotFoundError, ValueError):  # removed, or about to be
            found.append((each, Address.read(files.read_bytes(each, files.MOST_SMALL).decode())))
    return found
