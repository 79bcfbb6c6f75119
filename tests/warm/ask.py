"""Run a command in a process forked by server.py; what it does not take starts a new Python.

The `python`, `dvc` and `mlflow` of the tests' environment (conftest.warm_environment) call this. It
hands over its arguments, environment, folder and open files, waits for the process, and ends as
that one ended.

    python -IS ask.py SOCKET PYTHON python|.../dvc|.../mlflow [argument ...]
"""

import json
import os
import signal
import socket
import sys

PROGRAMS = ("dvc", "mlflow", "uvicorn")
SCRIPTS = ("/rerun.py", "cookiecutter/table.py", "deploy/users.py")


def main() -> None:
    _, address, python, program, *arguments = sys.argv
    request = arguments
    if program != "python":
        request = [os.path.basename(program), *arguments]
    elif arguments[:1] == ["-m"] and arguments[1] in PROGRAMS:
        request = arguments[1:]

    answer = ""
    if is_taken(request):
        answer = ask(address, request)
    if not answer:
        command = [python] if program == "python" else [python, program]
        os.execv(python, [*command, *arguments])
    status = int(answer)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


def is_taken(request: list[str]) -> bool:
    """Whether the server is to be asked."""
    if not request or request[:3] == ["dvc", "exp", "queue-worker"]:  # it outlives who started it
        return False
    command = request[0]
    if command == "-m":
        return request[1] == "pytest"
    return command in (*PROGRAMS, "-c") or command.startswith("src/") or command.endswith(SCRIPTS)


def ask(address: str, arguments: list[str]) -> str:
    """The status of the process, as os.wait gives it; "" if the server did not take the request."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.connect(address)
    except OSError:
        return ""
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
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
