"""Two processes with half a batch each train as one process with the whole."""
import sys

import pytest
import torch

SCRIPT = 'tests/two_processes.py'


@pytest.mark.parametrize('method', ['SR4IR', 'S+T'])
def test_two_processes_equal_one(tmp_path, run_tool, method):
    one, two = tmp_path / 'one.pth', tmp_path / 'two.pth'
    env = dict(PYTHONWARNINGS='ignore')
    run_tool(sys.executable, SCRIPT, one, method, env=env)
    run_tool(sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2',
             '--master_port=29617', SCRIPT, two, method, env=env)
    one, two = torch.load(one), torch.load(two)
    for name in ('sr', 'task'):
        assert set(one[name]) == set(two[name])
        for key, value in one[name].items():
            torch.testing.assert_close(
                two[name][key], value, rtol=0, atol=1e-5, msg=f'{name}.{key}')
