"""Run Python tools in processes that have imported the large packages already.

usage: tool_server.py

Each line of standard input is a command as JSON: ``argv``, ``env``, and ``output``, the
file for what it prints. The answers are two lines each, the number of the process and
its exit status. A tool runs in a fork of this process, as a script does. Packages of
OpenMMLab are not imported before, since a tool must fill their registries itself. It
starts some six seconds earlier so.
"""
import json
import os
import runpy
import sys

# What the tools import most of the time for.
import albumentations  # noqa: F401
import cv2  # noqa: F401
import diffusers  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pycocotools.coco  # noqa: F401
import scipy.stats  # noqa: F401
import torch.distributed.fsdp  # noqa: F401
import torch.distributed.optim  # noqa: F401
import torchvision  # noqa: F401
import transformers  # noqa: F401


def wait_for_command() -> dict | None:
    """Fork for each command; returns it in the fork, and None at the end of input."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return json.loads(line)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
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


if __name__ == '__main__':
    command = wait_for_command()
    if command:
        become(**command)
        runpy.run_path(command['argv'][0], run_name='__main__')
