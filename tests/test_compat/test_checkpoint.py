import collections
import io
import json
import os
import pathlib
import pickle
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from mmsr4ir.compat.checkpoint import UnsafeCheckpointError, load_from_local
from mmsr4ir.engine.build import build_model

RAN = []


def saved(tmp_path, **content):
    path = tmp_path / 'checkpoint.pth'
    torch.save(content, path)
    return path


def test_what_mmengine_writes_is_read(tmp_path):
    buffer = HistoryBuffer()
    buffer.update(np.float64(1.5))
    buffer.update(2, 3)
    path = saved(
        tmp_path,
        state_dict=collections.OrderedDict(a=torch.arange(3)),
        message_hub=dict(log_scalars=collections.OrderedDict(x=buffer)),
        meta=dict(seed=1, value=np.float64(2), whole=np.int64(3)),
    )
    loaded = CheckpointLoader.load_checkpoint(str(path))
    assert torch.equal(loaded['state_dict']['a'], torch.arange(3))
    read = loaded['message_hub']['log_scalars']['x']
    assert read.data[0].tolist() == [1.5, 2] and read.mean() == buffer.mean()
    assert loaded['meta']['whole'] == 3


def test_plain_torch_refuses_it_still(tmp_path):
    """Once this fails, `compat.checkpoint` is not needed any more."""
    path = saved(tmp_path, buffer=HistoryBuffer())
    with pytest.raises(Exception, match='HistoryBuffer'):
        torch.load(path, weights_only=True)


class Attack:
    """Would run code when it is unpickled."""

    def __reduce__(self):
        return eval, ('RAN.append(1)',)


class Peek:
    """Reaches through the `getattr` that a HistoryBuffer is pickled with."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


@pytest.mark.parametrize(
    'value, name',
    [
        (Attack(), 'eval'),
        (Peek(), 'HistoryBuffer.__init__'),
        (
            pathlib.PurePosixPath('x'),
            f'{pathlib.PurePosixPath.__module__}.PurePosixPath',
        ),
        (collections.deque(), 'collections.deque'),
    ],
)
def test_anything_else_is_refused_by_name_and_not_run(tmp_path, value, name):
    path = saved(tmp_path, x=value)
    with pytest.raises(
        UnsafeCheckpointError, match=(rf'refused: it holds (builtins\.)?{name},')
    ):
        CheckpointLoader.load_checkpoint(str(path))
    assert RAN == []


def test_no_other_loader_of_mmengine_runs_it(tmp_path):
    """Those of s3:// and its like end in this function, or in torch's own."""
    torch.save(dict(value=Attack()), tmp_path / 'x.pth')
    load = getattr(mmengine_checkpoint, '_safe_torch_load', torch.load)
    with pytest.raises(pickle.UnpicklingError, match='eval'):
        load(tmp_path / 'x.pth')


def test_a_config_that_would_run_is_removed_from_any_address(monkeypatch):
    """MMEngine's Runner runs it when it resumes."""
    loader = '_get_checkpoint_loader'
    monkeypatch.setattr(
        CheckpointLoader,
        loader,
        lambda path: (
            lambda name, map_location: dict(meta=dict(config='x = 1', epoch=3))
        ),
    )
    loaded = CheckpointLoader.load_checkpoint('s3://bucket/x.pth')
    assert loaded == dict(meta=dict(epoch=3))


def test_a_truncated_file_is_named(tmp_path):
    path = saved(tmp_path, x=torch.rand(1000))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(RuntimeError, match='checkpoint.pth.*truncated'):
        load_from_local(path)
    path.write_bytes(b'')
    with pytest.raises(RuntimeError, match='checkpoint.pth'):
        load_from_local(path)
    path.write_text('hello, this is no checkpoint')
    with pytest.raises(RuntimeError, match='checkpoint.pth'):
        load_from_local(path)


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('CUDA error: an illegal memory access was encountered'),
        RuntimeError('Attempting to deserialize object on a CUDA device but ...'),
        torch.OutOfMemoryError('Tried to allocate 2.00 MiB'),
        getattr(torch, 'AcceleratorError', torch.OutOfMemoryError)('device-side'),
    ],
)
def test_an_error_of_the_gpu_is_not_blamed_on_the_file(tmp_path, monkeypatch, error):
    path = saved(tmp_path, x=1)

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, 'load', fail)
    with pytest.raises(type(error)) as caught:
        load_from_local(str(path), 'cuda')
    assert caught.value is error


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.pth does not exist'):
        load_from_local(tmp_path / 'nothing.pth')


def test_the_old_format_is_read_too(tmp_path):
    path = tmp_path / 'old.pth'
    file = io.BytesIO()
    torch.save(dict(a=torch.ones(2)), file, _use_new_zipfile_serialization=False)
    path.write_bytes(file.getvalue())
    assert torch.equal(load_from_local(path)['a'], torch.ones(2))


def test_a_checkpoint_of_an_early_commit_fits(tmp_path):
    """What trainings have written since then is read, tensor by tensor."""
    names = (ROOT / 'tests/golden/checkpoint_9870343.txt').read_text().splitlines()[2:]
    state = collections.OrderedDict()
    for name, _, shape in (line.partition(' ') for line in names):
        sides = map(int, shape.split('x')) if shape else ()
        state[name] = torch.rand(*sides) if shape else torch.tensor(len(state))
    path = saved(tmp_path, state_dict=state, meta=dict(dataset_meta=dict(classes='a')))
    config = Config.fromfile(ROOT / 'configs/sr4ir/resnet18_edsr_tiny.py')
    with DefaultScope.overwrite_default_scope('mmengine'):
        model = build_model(config, str(path))
    read = model.state_dict()
    assert list(read) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in read.items())
    assert model.dataset_meta == dict(classes='a')


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A web server for a folder, and torch's cache in another."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    folder = tmp_path / 'web'
    folder.mkdir()
    server = ThreadingHTTPServer(
        ('127.0.0.1', 0), partial(SimpleHTTPRequestHandler, directory=str(folder))
    )
    Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def test_a_url_is_fetched_once_and_loaded_safely(served, monkeypatch):
    folder, address = served
    said = []
    monkeypatch.setattr(
        mmengine_checkpoint, 'print_log', lambda text, **_: said.append(text)
    )
    torch.save(dict(a=torch.ones(2)), folder / 'good.pth')
    url = f'{address}/good.pth'
    assert torch.equal(CheckpointLoader.load_checkpoint(url)['a'], torch.ones(2))
    # MMEngine names the backend by the name of the loader.
    assert said[0].startswith('Loads checkpoint by http backend from path: http')
    (folder / 'good.pth').unlink()
    assert torch.equal(CheckpointLoader.load_checkpoint(url)['a'], torch.ones(2))
    (folder / 'other').mkdir()  # another file of that name is another file
    torch.save(dict(a=torch.zeros(2)), folder / 'other/good.pth')
    loaded = CheckpointLoader.load_checkpoint(f'{address}/other/good.pth')
    assert torch.equal(loaded['a'], torch.zeros(2))
    torch.save(dict(a=Attack()), folder / 'bad.pth')
    with pytest.raises(UnsafeCheckpointError):
        CheckpointLoader.load_checkpoint(f'{address}/bad.pth')
    assert not RAN


def test_a_url_that_does_not_answer_or_changed_says_where_to_put_the_file(served):
    folder, address = served
    with pytest.raises(RuntimeError, match=r'404.*put it at .*cache.*none\.pth'):
        CheckpointLoader.load_checkpoint(f'{address}/none.pth')
    torch.save(dict(a=1), folder / 'changed-01234567.pth')
    with pytest.raises(RuntimeError, match='invalid hash value'):
        CheckpointLoader.load_checkpoint(f'{address}/changed-01234567.pth')


def test_processes_that_write_one_text_leave_a_whole_one(tmp_path, monkeypatch):
    """As MMEngine's LoggerHook does with the metrics of a distributed test."""
    path, met = tmp_path / 'metrics.json', []
    replace, pid = os.replace, os.getpid()

    def meet(unfinished, final):
        if not met:  # another process writes in the middle of this one's writing
            met.append(unfinished)
            monkeypatch.setattr(os, 'getpid', lambda: pid + 1)
            dump(dict(mAP=0.09, time=0.123456789), path)
            assert json.loads(path.read_text()) == dict(mAP=0.09, time=0.123456789)
        replace(unfinished, final)

    monkeypatch.setattr(os, 'replace', meet)
    dump(dict(mAP=0.09, time=0.1), path)
    assert met and json.loads(path.read_text()) == dict(mAP=0.09, time=0.1)
    assert list(tmp_path.iterdir()) == [path]


def test_two_trainings_in_one_folder_are_told_so(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    replace = os.replace

    def after_another(unfinished, final):
        replace(unfinished, tmp_path / 'of_another.pth')
        replace(unfinished, final)

    monkeypatch.setattr(os, 'replace', after_another)
    with pytest.raises(
        OSError,
        match='epoch_1.pth could not be written: .*another training write .*--work-dir',
    ):
        dump(dict(a=1), path, file_format='pkl')
