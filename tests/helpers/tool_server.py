"""Run Python tools in processes that have imported the large packages already.

usage: tool_server.py

Each line of standard input is a command as JSON: ``argv``, ``env``, and ``output``, the
file for what it prints. The answers are two lines each, the number of the process and
its exit status. A tool runs in a fork of this process, at the head of a process group.
Packages of OpenMMLab are not imported before, since a tool must fill their registries
itself. It starts some six seconds earlier so. Other than in a process of its own, all
have the same seed of hashes, variables that Python or a package reads at its start
(PYTHONWARNINGS, MPLBACKEND) are those of this process, and no object is taken down in
the end.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import sys
import threading
from contextlib import suppress
from typing import NoReturn, TextIO

#: What the tools import most of the time for. Not onnxruntime, which has threads with
#: locks: a fork has only the locks, and waits for them for ever.
PACKAGES = (
    'cv2',
    'ftfy',
    'matplotlib.pyplot',
    'pycocotools.coco',
    'rich.progress',
    'scipy.signal',
    'scipy.stats',
    'shapely.geometry',
    'torch.distributed.fsdp',
    'torch.distributed.optim',
    'torchvision',
    'yapf',
)


def wait_for_command(answers: TextIO) -> dict | None:
    """Fork for each command; returns it in the fork, and None at the end of input."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            return json.loads(line)
        print(pid, file=answers, flush=True)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, file=answers, flush=True)
    return None


def become(argv: list[str], env: dict[str, str], output: str) -> None:
    """Make this process what the system would start for a command."""
    for number, path in enumerate((os.devnull, output, output)):
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  (the old one has read ahead)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = argv
    more = [path for path in env.get('PYTHONPATH', '').split(os.pathsep) if path]
    sys.path[:1] = [os.path.dirname(os.path.abspath(argv[0])), *more]
    sys.modules['numpy'].random.seed()  # Python's own generator is seeded by the fork


def run(path: str) -> NoReturn:
    """Run a script or a module, and end without taking down all objects (1.5 s)."""
    status = 0
    try:
        if path == '-m':
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(path, run_name='__main__')
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, int | None):
            print(end.code, file=sys.stderr)
    except BaseException:
        status = 1
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # as Python does: threads, then what is registered
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed
            stream.flush()
    os._exit(status)


if __name__ == '__main__':
    pipe = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # what packages print is no answer
    for name in PACKAGES:
        importlib.import_module(name)
    gc.freeze()  # else each fork goes through all of it now and then, and copies it
    command = wait_for_command(pipe)
    if command:
        pipe.close()
        become(**command)
        run(command['argv'][0])
    os._exit(0)
