"""Which checkpoint a run goes on from, and that a file under its name is whole."""

import errno
import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.runner import save_checkpoint

from mmsr4ir.engine.build import find_run
from mmsr4ir.engine.exact_loops import check_kept_checkpoints, use_exact_loops
from mmsr4ir.engine.resume import ResumeError, is_whole, resume_point
from mmsr4ir.utils.errors import ConfigError


def work_dir(path, names=('epoch_1', 'epoch_2', 'epoch_3'), noted=None):
    for i, name in enumerate((*names, 'best_x_epoch_9')):
        save_checkpoint(dict(value=torch.arange(99)), str(path / f'{name}.pth'))
        os.utime(path / f'{name}.pth', (i, i))
    if noted is not None:
        (path / 'last_checkpoint').write_text(noted and str(path / noted))
    return str(path)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[:-20])


@pytest.mark.parametrize('noted', [None, '', 'epoch_2.pth', 'epoch_3.pth', 'gone.pth'])
def test_the_last_one_is_found_whatever_the_note_says(tmp_path, noted):
    """The note is written after the checkpoint; a run may have died between."""
    work = work_dir(tmp_path, noted=noted)
    assert resume_point(work, 'auto') == f'{work}/epoch_3.pth'
    assert resume_point(work, 'previous') == f'{work}/epoch_2.pth'


def test_of_two_runs_in_one_folder_the_newer_one_goes_on(tmp_path):
    work = work_dir(tmp_path, ('epoch_8', 'epoch_9', 'epoch_1'), 'epoch_1.pth')
    assert resume_point(work, 'auto') == f'{work}/epoch_1.pth'


def test_checkpoints_in_another_folder_are_found_by_the_note(tmp_path):
    (tmp_path / 'out').mkdir(), (tmp_path / 'work').mkdir()
    out = work_dir(tmp_path / 'out')
    (tmp_path / 'work' / 'last_checkpoint').write_text(f'{out}/epoch_2.pth')
    assert resume_point(str(tmp_path / 'work'), 'auto') == f'{out}/epoch_3.pth'


def test_a_copied_work_dir_is_a_run_of_its_own(tmp_path):
    """Its note names the original, and its times may be those of the copy."""
    for name in ('first', 'copy'):
        (tmp_path / name).mkdir()
    first = work_dir(tmp_path / 'first', ('epoch_1', 'epoch_2', 'epoch_3'))
    copy = work_dir(tmp_path / 'copy', ('epoch_2', 'epoch_1'))
    for note in (f'{first}/epoch_2.pth', '/another/machine/epoch_2.pth'):
        (tmp_path / 'copy' / 'last_checkpoint').write_text(note)
        assert resume_point(copy, 'auto') == f'{copy}/epoch_2.pth'
        assert resume_point(copy, 'previous') == f'{copy}/epoch_1.pth'
        Path(copy, 'config.py').write_text('')
        assert Path(find_run(Path(copy), None)[1]).name == 'best_x_epoch_9.pth'
    Path(copy, 'best_x_epoch_9.pth').unlink()
    (tmp_path / 'copy' / 'last_checkpoint').write_text(f'{first}/epoch_2.pth')
    assert find_run(Path(copy), None)[1] == Path(copy, 'epoch_2.pth')


def test_a_truncated_one_is_named_and_the_one_before_it_is_used_when_asked(tmp_path):
    work = work_dir(tmp_path, noted='epoch_3.pth')
    truncate(tmp_path / 'epoch_3.pth')
    for wish in ('auto', f'{work}/epoch_3.pth'):
        with pytest.raises(
            ResumeError,
            match=f'{work}/epoch_3.pth is truncated or '
            f'damaged.*--resume {work}/epoch_2.pth',
        ):
            resume_point(work, wish)
    assert resume_point(work, 'previous') == f'{work}/epoch_2.pth'
    truncate(tmp_path / 'epoch_2.pth')
    assert resume_point(work, 'previous') == f'{work}/epoch_1.pth'
    truncate(tmp_path / 'epoch_1.pth')
    with pytest.raises(ResumeError, match='no whole checkpoint before'):
        resume_point(work, 'previous')


def test_nothing_to_go_on_from(tmp_path):
    assert resume_point(str(tmp_path), 'auto') is None
    with pytest.raises(ResumeError, match='none.pth. does not exist'):
        resume_point(str(tmp_path), f'{tmp_path}/none.pth')


def test_a_flipped_bit_is_noticed(tmp_path):
    work_dir(tmp_path)
    path = tmp_path / 'epoch_1.pth'
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(50, 60).numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert not is_whole(path) and is_whole(tmp_path / 'epoch_2.pth')


def test_a_write_that_fails_leaves_the_file_before_it_whole(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    save_checkpoint(dict(value=1), str(path))

    def full(self, obj, filepath):
        with open(filepath, 'wb') as file:
            file.write(obj[:10])
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, 'put', full)
        with pytest.raises(OSError, match=f'{path} could not be written: No space'):
            save_checkpoint(dict(value=2), str(path))
        assert os.listdir(tmp_path) == ['epoch_1.pth']
    assert torch.load(path) == dict(value=1)
    save_checkpoint(dict(value=3), str(path))
    assert torch.load(path) == dict(value=3)
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def test_mmengine_alone_still_writes_to_the_final_name(tmp_path):
    """Once this fails, `WholeFileBackend` is not needed any more."""
    seen = []

    path = tmp_path / 'file'
    plain = open

    def watched(name, *args, **kwargs):
        seen.append(str(name))
        return plain(name, *args, **kwargs)

    LocalBackend.put.__globals__['open'] = watched
    try:
        LocalBackend().put(b'x', path)
    finally:
        del LocalBackend.put.__globals__['open']
    assert seen == [str(path)]
    assert type(get_file_backend(str(path))).__name__ == 'WholeFileBackend'


@pytest.mark.parametrize(
    'loop, kind',
    [
        (dict(by_epoch=True, max_epochs=1), 'mmsr4ir.ExactEpochLoop'),
        (dict(type='EpochBasedTrainLoop', max_epochs=1), 'mmsr4ir.ExactEpochLoop'),
        (dict(by_epoch=False, max_iters=1), 'mmsr4ir.ExactIterLoop'),
        (
            dict(type='mmengine.IterBasedTrainLoop', max_iters=1),
            'mmsr4ir.ExactIterLoop',
        ),
        (dict(type='mmdet.TeacherStudentValLoop'), 'mmdet.TeacherStudentValLoop'),
    ],
)
def test_the_exact_loops_take_the_place_of_mmengines(loop, kind):
    cfg = Config(dict(train_cfg=loop))
    use_exact_loops(cfg)
    assert cfg.train_cfg.type == kind and 'by_epoch' not in cfg.train_cfg


def test_one_kept_checkpoint_is_too_few():
    with pytest.raises(ConfigError, match='removes the only checkpoint'):
        check_kept_checkpoints(
            Config(
                dict(
                    train_cfg=dict(by_epoch=True, max_epochs=1),
                    default_hooks=dict(checkpoint=dict(max_keep_ckpts=1)),
                )
            )
        )
