"""A payment worker: takes one job at a time over a socket, `pay MS`, works on it for so long, answers `paid PID`.

Run as a script by a copy of the Python interpreter called `payment-worker`, so it imports next to nothing. A new
one is deaf until it has warmed up, for as many seconds as the file `warm-up` beside it says.
"""

import os
import socket
import sys
import time
from pathlib import Path


def serve(port: int) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(16)
    while True:
        client, _ = server.accept()
        with client, client.makefile("rwb", buffering=0) as line:
            try:
                while job := line.readline():
                    time.sleep(int(job.split()[1]) / 1_000)
                    line.write(b"paid %d\n" % os.getpid())
            except OSError:
                continue


if __name__ == "__main__":
    time.sleep(float(Path(__file__).with_name("warm-up").read_text()))
    serve(int(sys.argv[1]))
