"""What the tests learn of a tool that ran in a fork of tool_server.py."""

import os
import subprocess
import sys
import time
from signal import SIGKILL

import conftest
import pytest


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    server = conftest.ToolServer(tmp_path_factory.mktemp('server'))
    yield server
    server.close()


@pytest.fixture
def run(server, tmp_path):
    """Run lines of Python as a tool."""

    def call(text, *args):
        path = tmp_path / 'tool.py'
        path.write_text(text)
        return server.run([sys.executable, str(path), *args])

    return call


@pytest.mark.parametrize(
    'text, code, output',
    [
        ('import sys; print(*sys.argv[1:]); print(1, file=sys.stderr)', 0, 'a b\n1\n'),
        ('import sys; sys.exit("error: no")', 1, 'error: no\n'),
        ('import sys; print(repr(sys.stdin.read())); sys.exit(3)', 3, "''\n"),
        ('import os; os.kill(os.getpid(), 9)', -SIGKILL, ''),
        ('print(__name__, __file__.rsplit("/")[-1])', 0, '__main__ tool.py\n'),
        (
            'import sys; print(*map(sys.modules.__contains__, ("mmengine", "mmcv", '
            '"torch")))',
            0,
            'False False True\n',
        ),
    ],
)
def test_a_tool_ends_as_a_script_does(run, text, code, output):
    process = run(text, 'a', 'b')
    assert (process.returncode, process.stdout) == (code, output)


def test_an_error_is_in_the_output(run):
    process = run('def f():\n    raise ValueError("bad")\nf()')
    assert process.returncode == 1
    assert process.stdout.splitlines()[-1] == 'ValueError: bad'


def test_tools_do_not_see_what_others_drew(run):
    text = 'import random, numpy; print(random.random(), numpy.random.rand())'
    one, other = (run(text).stdout.split() for _ in range(2))
    assert one[0] != other[0] and one[1] != other[1]


def gone(pid: int) -> bool:
    """Whether a process ends within seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with open(f'/proc/{pid}/stat') as file:
            if file.read().rsplit(')', 1)[1].split()[0] == 'Z':
                return True
        time.sleep(0.05)
    return False


# A child that outlives its parent, which may wait for it.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print(child.pid, flush=True)
"""


def test_what_a_tool_leaves_running_is_ended(run):
    assert gone(int(run(PARENT).stdout))


def test_a_tool_that_takes_too_long_is_ended_with_its_children(run, monkeypatch):
    monkeypatch.setattr(conftest, 'LIMIT', 2)
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        run(PARENT + 'child.wait()')
    assert gone(int(caught.value.output))


def test_a_server_that_has_ended_says_why_and_another_one_comes(run, server):
    run('')
    server.process.kill()
    server.process.wait()
    (server.folder / 'server.txt').write_text('ImportError: none')
    with pytest.raises(RuntimeError, match='has ended: ImportError: none'):
        run('')
    assert run('print(1)').stdout == '1\n'
