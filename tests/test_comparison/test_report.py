"""Tables, chart and grids, against numbers worked out here."""

import csv
import errno
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from rich.console import Console

from mmsr4ir.comparison.display import Display, position
from mmsr4ir.comparison.methods import ComparisonError, Part
from mmsr4ir.comparison.report import write_report
from mmsr4ir.comparison.runner import Progress
from mmsr4ir.comparison.testing import PANELS
from mmsr4ir.utils.files import write_json

METHODS = ('h2t', 'l2t', 's2t', 'sr4ir')
# Task metric and PSNR by method and seed.
TASK = dict(h2t=(80.0, 90.0), l2t=(40.0, 30.0), s2t=(50.0, 45.0), sr4ir=(60.0, 66.0))
PSNR = dict(h2t=(99.0, 99.0), l2t=(20.0, 21.0), s2t=(24.0, 25.0), sr4ir=(23.0, 22.0))
SIZES = dict(sr=dict(params=1000, flops=2e9), task=dict(params=3e6, flops=5e6))


def cfg():
    return Config(dict(train_cfg=dict(max_epochs=2)))


@pytest.fixture
def works(tmp_path):
    works = []
    for method in METHODS:
        for seed in (0, 1):
            folder = tmp_path / method / f'seed_{seed}'
            record = dict(
                epoch=2,
                epochs=2,
                iter=8,
                iters=8,
                updates=dict(sr=0, task=8),
                data_digest=100 + seed,
                images=dict(sr=0, task=64),
                seconds=1800.0,
                iter_time=0.25 + seed,
                jobs=2,
                machine='a slide rule',
            )
            write_json(folder / 'train' / 'record.json', record)
            write_json(folder / 'trained.json', record)
            write_json(
                folder / 'tested.json',
                dict(
                    lr_digest=7,
                    metrics={'mIoU': TASK[method][seed], 'sr/PSNR': PSNR[method][seed]},
                ),
            )
            (folder / 'pictures').mkdir()
            for i in range(2):
                picture = np.full((10 + i, 12 * len(PANELS), 3), 30, np.uint8)
                picture[:, -12:] = 90  # the ground truth
                cv2.imwrite(str(folder / 'pictures' / f'{i}.png'), picture)
            works.append(Progress(Part(method, seed, folder, cfg()), 'done'))
    return works


TIMES = dict(task_ms=5.0, mib=90.0, of='process', machine='a slide rule')
INFERENCE = {
    method: dict(TIMES, sr_ms=12.0 * (method in ('s2t', 'sr4ir'))) for method in METHODS
}


def write(works, out):
    return write_report(works, cfg(), METHODS, 'mIoU', SIZES, out, INFERENCE)


def cells(text):
    """Every cell of the tables, by the first cell of its row and its column."""
    found, head = {}, None
    for line in text.splitlines():
        if not line.startswith('| '):
            head = None
            continue
        row = line.strip('| ').split(' | ')
        head = head or row
        found.setdefault(row[0], {}).update(zip(head, row, strict=True))
    return found


def test_values(works, tmp_path):
    write(works, tmp_path)
    report = json.loads((tmp_path / 'results.json').read_text())
    gaps = [(60 - 40) / (80 - 40), (66 - 30) / (90 - 30)]
    row = report['methods']['sr4ir']
    assert row['gap_closed']['mean'] == pytest.approx(np.mean(gaps))
    assert row['gap_closed']['std'] == pytest.approx(np.std(gaps, ddof=1))
    assert row['task'] == pytest.approx(
        dict(mean=63.0, std=np.std([60, 66], ddof=1), runs=2)
    )
    assert report['methods']['h2t']['gap_closed']['mean'] == 1.0
    assert report['methods']['l2t']['gap_closed']['mean'] == 0.0
    table = cells((tmp_path / 'results.md').read_text())
    assert table['SR4IR']['mIoU'] == '63.000 ± 4.243'
    assert table['SR4IR']['gap closed in %'] == '55.0 ± 7.1'
    assert table['S→T']['PSNR in dB'] == '24.50 ± 0.71'
    assert table['H→T']['PSNR in dB'] == '-', 'it restores nothing'
    assert table['SR4IR']['s per iteration'] == '0.750 ± 0.707'
    assert table['SR4IR']['S: FLOPs'] == '2 G' and table['L→T']['S: FLOPs'] == '0'
    assert table['SR4IR']['T: parameters'] == '3 M'
    assert table['SR4IR']['S: ms'] == '12.0' and table['L→T']['S: ms'] == '0.0'
    assert table['SR4IR']['peak MiB'] == '90' and table['H→T']['T: ms'] == '5.0'
    assert [
        table['S→T'][key]
        for key in ('updates of T', 'images of T', 'images of S', 'hours', 'teacher')
    ] == ['8', '64', '0', '0.50', 'no']
    with (tmp_path / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['method'], row['seed']) for row in rows] == [
        (method, str(seed)) for method in METHODS for seed in (0, 1)
    ]
    assert [float(row['mIoU']) for row in rows] == [
        value for method in METHODS for value in TASK[method]
    ]
    assert cv2.imread(str(tmp_path / 'results.png')).shape[2] == 3
    # One row of each method; the ground truth is in the first only.
    assert sorted(path.name for path in (tmp_path / 'grids').iterdir()) == [
        '0.png',
        '1.png',
    ]
    grid = cv2.imread(str(tmp_path / 'grids' / '1.png'))
    assert len(grid) == 11 * len(METHODS)
    assert (grid[:11, -12:] == 90).all() and (grid[11:, -12:] == 255).all()
    assert (grid[:, -36:-12] == 30).all()


def test_flops_that_cannot_be_counted(works, tmp_path):
    sizes = dict(SIZES, task=dict(params=3e6, flops=float('nan')))
    write_report(works, cfg(), METHODS, 'mIoU', sizes, tmp_path)
    assert cells((tmp_path / 'results.md').read_text())['SR4IR']['T: FLOPs'] == '-'
    report = json.loads((tmp_path / 'results.json').read_text())
    assert report['complexity']['task'] == dict(params=3e6, flops=None)


def test_a_single_seed_has_no_spread(works, tmp_path):
    write([work for work in works if work.part.seed == 0], tmp_path)
    text = (tmp_path / 'results.md').read_text()
    assert cells(text)['SR4IR']['mIoU'] == '60.000' and '±' not in text


def test_what_is_missing_is_said(works, tmp_path):
    for work in works:
        if work.part.method == 'h2t' and work.part.seed == 1:
            work.state, work.reason = 'failed', 'error: out of paint'
    write(works, tmp_path)
    text = (tmp_path / 'results.md').read_text()
    assert '- H→T seed 1: failed: error: out of paint' in text
    table = cells(text)
    assert table['H→T']['mIoU'] == '80.000 (1 of 2 seeds)', 'of the seed that is left'
    assert table['SR4IR']['gap closed in %'] == '50.0 (1 of 2 seeds)', 'with both'


@pytest.mark.parametrize('metrics', [{}, {'mIoU': float('nan')}, {'mIoU': -1.0}])
def test_a_method_that_detects_nothing_is_missing(works, tmp_path, metrics):
    # Of a test, what is not finite is not a number of the results either.
    metrics = metrics | {'sr/PSNR': 25.0, 'sr/SSIM': float('inf')}
    write_json(works[-1].part.folder / 'tested.json', dict(metrics=metrics))
    write(works, tmp_path)
    text = (tmp_path / 'results.md').read_text()
    assert (
        '- SR4IR seed 1: failed: its test gave no mIoU: nothing was detected?' in text
    )
    table = cells(text)
    assert table['SR4IR']['mIoU'] == '60.000 (1 of 2 seeds)'
    assert table['SR4IR']['gap closed in %'] == '50.0 (1 of 2 seeds)'
    assert table['SR4IR']['PSNR in dB'] == '24.00 ± 1.41'
    run = json.loads((tmp_path / 'results.json').read_text())['methods']['sr4ir'][
        'runs'
    ]['1']
    assert run['state'] == 'failed' and run['metrics']['sr/SSIM'] is None


def test_seeds_without_a_gap_are_said(works, tmp_path):
    path = works[0].part.folder / 'tested.json'  # H→T is no better than L→T
    write_json(path, dict(metrics={'mIoU': 40.0}))
    write(works, tmp_path)
    table = cells((tmp_path / 'results.md').read_text())
    assert table['SR4IR']['gap closed in %'] == '60.0 (1 of 2 seeds)'
    assert table['SR4IR']['mIoU'] == '63.000 ± 4.243'


def test_no_gap_to_close(works, tmp_path):
    for work in works:
        if work.part.method == 'h2t':
            path = work.part.folder / 'tested.json'
            write_json(path, dict(metrics={'mIoU': 1.0}))
    write(works, tmp_path)
    assert (
        cells((tmp_path / 'results.md').read_text())['SR4IR']['gap closed in %'] == '-'
    )


def test_what_was_not_the_same_is_said(works, tmp_path):
    write(works, tmp_path)
    text = (tmp_path / 'results.md').read_text()
    assert 'augmentation: the same in all 4' in text and '**not' not in text
    path = works[2].part.folder / 'train' / 'record.json'
    write_json(path, json.loads(path.read_text()) | dict(data_digest=255))
    works[-1].part.cfg.train_cfg.max_epochs = 5
    # Data that changed between two tests are no reason to write no report.
    for work in works[2:]:
        name = f'{work.part.method}.jpg'
        images = [dict(name=name, label=0, true_label=0, score=1.0)]
        record = dict(kind='classification', classes=['a'], images=images)
        write_json(work.part.folder / 'images.json', record)
    write(works, tmp_path)
    text = (tmp_path / 'results.md').read_text()
    assert '- No images are compared: the tests kept no records of the same' in text
    assert 'augmentation: **not the same**' in text
    assert 'h2t, s2t, sr4ir (CRC-32 00000064); l2t (CRC-32 000000ff)' in text
    assert '`train_cfg`: **not the same** (seed 1): h2t, l2t, s2t; sr4ir\n' in text


def test_what_times_depend_on_is_that_of_their_trainings(works, tmp_path):
    write(works, tmp_path)
    text = (tmp_path / 'results.md').read_text()
    assert 'with loading; 2 at once, a slide rule.' in text
    for work, change in ((works[0], dict(jobs=1)), (works[-1], dict(machine='chalk'))):
        path = work.part.folder / 'trained.json'
        write_json(path, json.loads(path.read_text()) | change)
    write(works, tmp_path)
    text = (tmp_path / 'results.md').read_text()
    assert (
        '**not under the same conditions**: 1 at once, a slide rule (H→T seed 0); '
        '2 at once, a slide rule (H→T seed 1, L→T seed 0, '
    ) in text
    assert '; 2 at once, chalk (SR4IR seed 1).' in text
    assert [
        len(group['runs'])
        for group in json.loads((tmp_path / 'results.json').read_text())['times']
    ] == [1, 6, 1]


def test_an_unknown_metric_is_named(works, tmp_path):
    with pytest.raises(
        ComparisonError, match=r"'mAcc'.*--metric one of \['mIoU', 'sr/PSNR'\]"
    ):
        write_report(works, cfg(), METHODS, 'mAcc', SIZES, tmp_path)


def test_no_ground_truth_gives_no_number(works, tmp_path):
    for value in (float('nan'), -1.0):
        for work in works:
            write_json(work.part.folder / 'tested.json', dict(metrics={'mIoU': value}))
        with pytest.raises(ComparisonError, match='mIoU.*no ground truth'):
            write(works, tmp_path)


def test_a_full_disk_leaves_the_earlier_results_whole(works, tmp_path, monkeypatch):
    write(works, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob('results.*')}
    assert len(before) == 4
    works[-1].state = 'failed'
    plain = Path.write_bytes

    def full(self, content):
        plain(self, content[:10])
        raise OSError(errno.ENOSPC, 'No space left on device', str(self))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        write(works, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.glob('results.*')} == before


def test_position_of_a_training(works, tmp_path):
    work = works[0]
    write_json(
        work.part.folder / 'train' / 'record.json',
        dict(epoch=1, epochs=3, iter=10, iters=30, iter_time=2.0),
    )
    work.state = 'training'
    assert position(work) == 'epoch 2/3, iteration 10/30, 0:00:40 left'
    work.state, work.reason = 'failed', 'why'
    assert position(work) == '(why)'


def test_the_live_table_and_plain_lines(works, capsys):
    works[0].state, works[1].state = 'training', 'skipped'
    screen = io.StringIO()
    with Display(Console(file=screen, force_terminal=True, width=120)) as display:
        display(works)
    assert 'training' in screen.getvalue() and 'epoch 2/2' in screen.getvalue()
    lines = io.StringIO()
    with Display(Console(file=lines, width=120)) as display:
        display(works)
        display(works)
    told = lines.getvalue().splitlines()
    assert len(told) == len(works) and told[0].startswith('H→T seed 0: training epoch')


@pytest.mark.parametrize('terminal', [True, False])
def test_brackets_in_a_reason_are_no_markup(works, terminal):
    screen = io.StringIO()
    works[0].state = 'failed'
    works[0].reason = '[enforce fail at alloc.cpp] [/x] :cat: in /data/[red]'
    with Display(
        Console(file=screen, force_terminal=terminal, width=200, _environ={})
    ) as display:
        display(works)
    assert works[0].reason in screen.getvalue()
