"""A worker of the sandbox: a small HTTP server that says who it is. It ends at SIGTERM, as good services do.

Run as a script by a copy of the Python interpreter called `sandbox-worker`, so that it has a name and an
executable of its own. It imports next to nothing: thirty of them start in a second.
"""

import os
import signal
import socket
import sys


def serve(port: int) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(16)
    body = b"worker pid %d\n" % os.getpid()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answer = head % len(body) + body
    while True:
        client, _ = server.accept()
        with client:
            client.settimeout(1)
            try:
                client.recv(4096)
                client.sendall(answer)
            except OSError:
                continue


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    serve(int(sys.argv[1]))
