"""Run a command of src/ in a process forked by server.py; anything else starts a new Python.

This stands as `python` first on the PATH of the tests' projects. It hands over its arguments,
environment, folder and open files, waits for the process, and ends as that one ended.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    script = sys.argv[1] if len(sys.argv) > 1 else ""
    answer = ""
    if script.startswith("src/") and script.endswith(".py"):
        answer = ask()
    if not answer:
        python = os.environ["WARM_PYTHON"]
        os.execv(python, [python, *sys.argv[1:]])
    status = int(answer)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


def ask() -> str:
    """The status of the process, as os.wait gives it; "" if the server did not take the request."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(os.environ["WARM_SOCKET"])
    except OSError:
        return ""
    request = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}
    message = json.dumps(request).encode("utf-8", "surrogateescape")
    # The files travel with the first byte.
    socket.send_fds(server, [b"\n"], [0, 1, 2])
    server.sendall(len(message).to_bytes(8, "big") + message)
    with server.makefile("r") as answers:
        process = answers.readline().strip()
        if not process:
            return ""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: os.kill(int(process), number))
        return answers.readline().strip()


main()
