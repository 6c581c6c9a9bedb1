"""A server to be killed: imports once, then serves in a child for every line it reads.

Run as a program with the workspace's folder. For each line it forks a server that writes its process id and port, and
writes `over` when that has ended.
"""

from __future__ import annotations

import os
import sys

import uvicorn

from personalization.runtime import Runtime
from personalization.serve.app import create_app
from personalization.workspace import Workspace
from tests.serve.server import config, listen


def serve(home: str) -> None:
    app = create_app(Runtime(Workspace.at(home)))
    listener = listen()
    os.write(1, b"%d %d\n" % (os.getpid(), listener.getsockname()[1]))
    uvicorn.Server(config(app)).run(sockets=[listener])


if __name__ == "__main__":
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            serve(sys.argv[1])
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"over\n")
