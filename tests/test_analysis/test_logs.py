"""Logs as MMEngine writes them, with numbers that say where they come from."""

import json

import pytest

from mmsr4ir.analysis.curves import draw_curves, save_figure
from mmsr4ir.analysis.logs import LogError, epoch_times, groups, read_log

PER_EPOCH = 4


def train_line(step: int, value: float, **more) -> dict:
    epoch = (step - 1) // PER_EPOCH + 1
    return {
        'sr.lr': 0.1,
        'sr/loss_pixel': value,
        'task/mix/loss': value,
        'task/mix/acc': 50.0,
        'time': value,
        'epoch': epoch,
        'iter': step,
        'step': step,
    } | more


def val_line(step: int, value: float) -> dict:
    return {
        'coco/bbox_mAP': value,
        'coco/bbox_mAP_l': -1.0,
        'sr/PSNR': 20 + value,
        'time': 9.0,
        'step': step,
    }


def write_run(work_dir, name, lines, resume=False):
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    (folder / 'config.py').write_text(f'load_from = None\nresume = {resume}\n')
    return folder / 'scalars.json'


@pytest.fixture
def resumed(tmp_path):
    """Two epochs, then iterations 9 and 10, which a resumed run does again."""
    work_dir = tmp_path / 'det'
    write_run(work_dir, '20260101_000000', [train_line(1, 99.0)])  # another training
    write_run(
        work_dir,
        '20260102_000000',
        [
            *(train_line(i, 1.0) for i in range(1, 5)),
            val_line(1, 0.1),
            *(train_line(i, 1.0) for i in range(5, 9)),
            val_line(2, 0.2),
            *(train_line(i, 1.0) for i in range(9, 11)),
        ],
    )
    write_run(
        work_dir,
        '20260103_000000',
        [*(train_line(i, 2.0) for i in range(9, 13)), val_line(3, 0.3)],
        resume=True,
    )
    write_run(work_dir, '20260104_000000', [])  # a test
    return work_dir


def test_a_resumed_run_goes_on_where_it_began(resumed):
    log = read_log(resumed)
    assert log.name == 'det' and len(log.files) == 2
    assert log.curve('sr/loss_pixel') == (
        list(range(1, 13)),
        [1.0] * 8 + [2.0] * 4,
        'iteration',
    )
    assert log.curve('coco/bbox_mAP') == ([1, 2, 3], [0.1, 0.2, 0.3], 'epoch')
    assert log.curve('time')[1] == [1.0] * 8 + [2.0] * 4
    assert log.curve('coco/bbox_mAP_l') == ([], [], 'epoch')


def test_a_run_that_goes_back_before_a_validation_replaces_it(resumed):
    write_run(
        resumed,
        '20260105_000000',
        [*(train_line(i, 3.0) for i in range(5, 9)), val_line(2, 0.9)],
        resume=True,
    )
    log = read_log(resumed)
    assert log.curve('sr/loss_pixel')[1] == [1.0] * 4 + [3.0] * 4
    assert log.curve('coco/bbox_mAP')[:2] == ([1, 2], [0.1, 0.9])


def test_the_newest_training_that_is_not_resumed_stands_alone(resumed):
    write_run(resumed, '20260105_000000', [train_line(2, 5.0)])
    assert read_log(resumed).curve('sr/loss_pixel')[:2] == ([2], [5.0])
    one = resumed / '20260102_000000' / 'vis_data' / 'scalars.json'
    assert read_log(one, 'x').curve('sr/loss_pixel')[0] == list(range(1, 11))


def test_validations_by_iteration(tmp_path):
    lines = [{**train_line(i, 1.0), 'epoch': 1} for i in range(1, 9)]
    file = write_run(tmp_path, 'a', [*lines[:4], val_line(4, 0.1), *lines[4:]])
    assert read_log(file).curve('sr/PSNR') == ([4], [20.1], 'iteration')


def test_groups_and_the_panels_of_a_figure(resumed, tmp_path):
    log = read_log(resumed)
    panels = {
        'losses of phase sr': ['sr/loss_pixel'],
        'losses of phase task': ['task/mix/loss'],
        'phase task, not optimised': ['task/mix/acc'],
        'learning rates': ['sr.lr'],
        'metrics': ['coco/bbox_mAP', 'coco/bbox_mAP_l'],
        'image quality: sr/PSNR': ['sr/PSNR'],
    }
    assert groups([log]) == panels
    other = write_run(tmp_path, 'b', [train_line(i, 4.0) for i in (3, 6)])
    figure = draw_curves([log, read_log(other, 'other')])
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    pixel, *_, psnr = figure.axes
    assert [line.get_label() for line in pixel.lines] == ['det', 'other']
    assert pixel.lines[1].get_xydata().tolist() == [[3, 4], [6, 4]]
    assert pixel.lines[0].get_color() != pixel.lines[1].get_color()
    assert psnr.lines[0].get_xydata().tolist() == [[1, 20.1], [2, 20.2], [3, 20.3]]
    assert psnr.get_xlabel() == 'epoch' and len(psnr.lines) == 1
    for name in ('curves.png', 'curves.svg'):
        save_figure(figure, tmp_path / 'new' / name)
        assert (tmp_path / 'new' / name).stat().st_size > 1000
    assert len(list((tmp_path / 'new').iterdir())) == 2
    with pytest.raises(LogError, match='must end in one of .*png'):
        save_figure(figure, tmp_path / 'curves.txt')


def test_times_by_epoch(resumed, tmp_path):
    log = read_log(
        write_run(tmp_path, 'c', [train_line(i, float(i)) for i in range(1, 9)])
    )
    assert epoch_times(log) == {1: 3.0, 2: 7.0}
    assert epoch_times(log, include_outliers=True) == {1: 2.5, 2: 6.5}
    single = read_log(write_run(tmp_path, 'd', [train_line(1, 1.0)]))
    with pytest.raises(LogError, match='--include-outliers'):
        epoch_times(single)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(LogError, match='does not exist'):
        read_log(tmp_path / 'nowhere')
    with pytest.raises(LogError, match='work dir of a training'):
        read_log(tmp_path)
    file = write_run(tmp_path, 'a', [train_line(1, 1.0)])
    good = file.read_text()
    file.write_text(good + '{"step": 2, "ti')  # killed while it wrote
    assert len(read_log(file).train) == 1
    file.write_text('{"ste\n' + good)
    with pytest.raises(LogError, match='line 1'):
        read_log(file)
    file.write_text(json.dumps(val_line(1, 1.0)) + '\n')
    with pytest.raises(LogError, match='no iteration was logged'):
        read_log(file)
    with pytest.raises(LogError, match="'loss' was not logged; there are sr.lr, "):
        file.write_text(good)
        draw_curves([read_log(file)], ['loss'])
