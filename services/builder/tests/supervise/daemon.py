"""Stands in for rootlesskit, its child and buildkitd: a chain of processes whose last one listens, and runs as a step would
whatever a line tells it. argv: the socket, and how many processes are below."""

import os
import signal
import socket
import subprocess
import sys

path, below = sys.argv[1], int(sys.argv[2])
if below:
    child = subprocess.Popen([sys.executable, __file__, path, str(below - 1)])
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    sys.exit(1 if child.wait() else 0)

listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
# Nobody waits for steps here: the first process gets them once this one is gone, and they are over until then.
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile() as lines:
        if command := lines.readline().strip():
            subprocess.run(["sh", "-c", command.replace("DAEMON", str(os.getpid()))])
            connection.sendall(b"ran\n")
