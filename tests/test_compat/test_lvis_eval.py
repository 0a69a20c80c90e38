"""LVIS's evaluation names what NumPy no longer has."""

import sys
from importlib import import_module

import numpy as np

from mmsr4ir.compat import lvis_eval


def test_the_evaluation_of_lvis_finds_np_float(tmp_path, monkeypatch):
    """Of lvis 0.5.3, only the line that fails; once NumPy has it, this part can go."""
    (tmp_path / 'lvis').mkdir()
    (tmp_path / 'lvis/__init__.py').write_text('')
    (tmp_path / 'lvis/eval.py').write_text(
        'import numpy as np\n\n\n'
        'def summed(matches):\n'
        '    return np.cumsum(matches, axis=1).astype(dtype=np.float)\n'
    )
    for name in ('lvis', 'lvis.eval'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    lvis_eval.install()
    try:
        module = import_module('lvis.eval')
    finally:
        for name in ('lvis', 'lvis.eval'):
            sys.modules.pop(name, None)
    sums = module.summed(np.array([[True, False, True]]))
    assert sums.dtype == np.float64 and sums.tolist() == [[1, 1, 2]]
    assert not hasattr(np, 'float')
