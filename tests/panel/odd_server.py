"""A server that does something before it answers: `odd_server.py work|wait [SECONDS [CERTIFICATE KEY]]`.

`work` takes the processor in its main thread for so long; `wait` waits there for a lock, while another thread works.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time


def work(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def main() -> None:
    what, seconds, *certificate = [*sys.argv[1:], "10000"] if len(sys.argv) == 2 else sys.argv[1:]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        if what == "wait":
            threading.Thread(target=work, args=(float(seconds),), daemon=True).start()
            lock = threading.Lock()
            with lock:
                lock.acquire()
        work(float(seconds))
        while True:
            connection, _ = listener.accept()
            if certificate:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(*certificate)
                connection = context.wrap_socket(connection, server_side=True)
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            connection.close()


if __name__ == "__main__":
    main()
