"""The order of the parts, what is run again and what is not, with tools of straw."""

import json
import shutil
import subprocess
import sys
import zipfile

import pytest
from mmengine.config import Config

from mmsr4ir.comparison import plan_parts, run_parts, runner
from mmsr4ir.comparison.methods import ComparisonError

# They leave the files of the real tools, and a line in a diary for each call.
TRAIN = """
import json, os, sys, time, zipfile
from pathlib import Path
work = Path(sys.argv[sys.argv.index('--work-dir') + 1])
assert '--resume' in sys.argv
method = work.parent.parent.name
with open({diary!r}, 'a') as file:
    file.write(f'train {{method}}\\n')
if method in {broken!r}:
    sys.exit('error: out of paint')
while Path({diary!r}).read_text().count('train') < {company}:
    time.sleep(0.05)
work.mkdir(exist_ok=True)
for epoch in (1, 2):
    with zipfile.ZipFile(work / f'epoch_{{epoch}}.pth', 'w') as archive:
        archive.writestr('method', method)
    os.utime(work / f'epoch_{{epoch}}.pth', (epoch, epoch))
# As left by a training that died before it wrote the note of its last checkpoint.
(work / 'last_checkpoint').write_text(str(work.resolve() / 'epoch_1.pth'))
(work / 'record.json').write_text(json.dumps(dict(
    epoch=2, epochs=2, iter=4, iters=4, updates=dict(sr=4, task=4), data_digest=7,
    iter_time=0.5)))
"""
TEST = """
import json, sys, zipfile
from pathlib import Path
checkpoint = Path(sys.argv[2])
work = Path(sys.argv[sys.argv.index('--work-dir') + 1])
method = zipfile.ZipFile(checkpoint).read('method').decode()
if f'test {{method}}' in {broken!r}:
    sys.exit('error: no more paint')
with open({diary!r}, 'a') as file:
    file.write(f'test {{method}}\\n')
(work / 'now').mkdir(parents=True, exist_ok=True)
(work / 'now' / 'now.json').write_text(json.dumps({{'mIoU': len(method)}}))
(work / 'record.json').write_text(json.dumps(dict(lr_digest=5)))
"""


def parts_of(methods, out, options=None):
    return plan_parts(
        Config(
            dict(
                model=dict(
                    type='mmsr4ir.SR4IR',
                    sr=dict(type='mmagic.EDSRNet'),
                    task=dict(type='x'),
                    recipe=dict(),
                ),
                default_hooks=dict(),
                **(options or {}),
            )
        ),
        methods,
        [0],
        out,
    )


@pytest.fixture
def straw(tmp_path, monkeypatch):
    """Put tools of straw in place; return a function that runs methods with them."""
    diary = tmp_path / 'diary.txt'
    tools = tmp_path / 'tools'
    tools.mkdir()
    monkeypatch.setattr(
        runner,
        'COMMANDS',
        {name: [str(tools / f'{name}.py')] for name in ('train', 'test')},
    )

    def run(methods, broken=(), company=0, jobs=1, options=None, **more):
        for name, text in (('train', TRAIN), ('test', TEST)):
            (tools / f'{name}.py').write_text(
                text.format(diary=str(diary), broken=tuple(broken), company=company)
            )
        diary.write_text('')
        out = tmp_path / 'out'
        works = run_parts(parts_of(methods, out, options), out, jobs, **more)
        return {work.part.method: work for work in works}, diary.read_text().split('\n')

    return run


def test_parts_come_after_what_they_need(straw, tmp_path):
    works, diary = straw(['t2s', 'l2t', 's2t'])
    assert all(work.state == 'done' for work in works.values())
    assert diary.index('test h2t') < diary.index('train t2s')
    assert diary.index('train s') < diary.index('train s2t') < diary.index('test s2t')
    assert 'test s' not in diary
    final = tmp_path / 'out/s2t/seed_0/final.pth'
    assert zipfile.ZipFile(final).read('method') == b's2t'
    assert final.resolve().name == 'epoch_2.pth'
    judge = json.loads((tmp_path / 'out/h2t/seed_0/trained.json').read_text())['run']
    assert json.loads((final.parent / 'tested.json').read_text()) == dict(
        metrics=dict(mIoU=3), images=8, lr_digest=5, judge=judge
    )
    kinds = {
        name: [
            one.type
            for one in Config.fromfile(
                final.parents[2] / f'{name}/seed_0/test.py'
            ).test_evaluator
        ]
        for name in ('h2t', 's2t')
    }
    assert kinds == dict(
        h2t=['mmsr4ir.ImageRecord'],
        s2t=['mmsr4ir.ImageRecord', 'mmsr4ir.TeacherDistance'],
    )


def test_how_many_ran_at_once_is_noted_with_each(straw, tmp_path):
    straw(['h2t'], jobs=2)
    straw(['h2t', 'l2t'], jobs=1)
    for method, jobs in (('h2t', 2), ('l2t', 1)):
        path = tmp_path / 'out' / method / 'seed_0' / 'trained.json'
        assert json.loads(path.read_text())['jobs'] == jobs


def test_a_failed_part_stops_only_those_that_need_it(straw):
    works, diary = straw(['h2t', 't2s', 's2t', 's_and_t'], broken=['h2t'])
    assert works['h2t'].state == 'failed' and 'out of paint' in works['h2t'].reason
    assert works['t2s'].state == 'skipped'
    assert works['t2s'].reason == 'H→T seed 0, which it needs, failed'
    assert works['s2t'].state == works['s_and_t'].state == 'done'
    assert 'train t2s' not in diary
    # Mended and started again: only what is missing is done.
    works, diary = straw(['h2t', 't2s', 's2t', 's_and_t'])
    assert all(work.state == 'done' for work in works.values())
    assert [line for line in diary if line] == [
        'train h2t',
        'test h2t',
        'train t2s',
        'test t2s',
        'test s2t',  # again, since now there is a judge
        'test s_and_t',
    ]


def test_a_failed_test_stops_nobody(straw):
    works, _ = straw(['h2t', 't2s'], broken=['test h2t'])
    assert works['h2t'].state == 'failed' and 'no more paint' in works['h2t'].reason
    assert works['t2s'].state == 'done'


def test_what_was_trained_and_not_tested_is_only_tested(straw, tmp_path):
    straw(['l2t'])
    (tmp_path / 'out/l2t/seed_0/tested.json').unlink()
    (tmp_path / 'out/l2t/seed_0/test/now/now.json').unlink()
    (tmp_path / 'out/l2t/seed_0/test/now').rmdir()
    _, diary = straw(['l2t'])
    assert [line for line in diary if line] == ['test l2t']


def test_another_number_of_images_is_drawn_by_another_test(straw, tmp_path):
    folder = tmp_path / 'out/l2t/seed_0'
    for images, calls in ((2, ['train l2t', 'test l2t']), (4, ['test l2t']), (4, [])):
        (folder / 'pictures').mkdir(parents=True, exist_ok=True)
        _, diary = straw(['l2t'], images=images)
        assert [line for line in diary if line] == calls
        assert json.loads((folder / 'tested.json').read_text())['images'] == images
        # Pictures that were chosen for another number are gone.
        assert (folder / 'pictures').exists() == (not calls)


def test_other_settings_are_not_mixed_with_finished_parts(straw):
    straw(['l2t'])
    with pytest.raises(ComparisonError, match='other settings.*--out'):
        straw(['l2t'], options=dict(train_cfg=dict(max_epochs=9)))
    straw(['t2s'])
    with pytest.raises(
        ComparisonError,
        match=('remove .*/h2t/seed_0 and .*/t2s/seed_0 to train H→T seed 0 anew, and'),
    ):
        straw(['t2s'], options=dict(train_cfg=dict(max_epochs=9)))


def test_what_took_over_a_network_is_not_left_stale(straw, tmp_path):
    straw(['s2t'])
    out = tmp_path / 'out'
    shutil.rmtree(out / 's/seed_0')
    # Refused before S is trained anew, and where a start without S→T did it.
    for trained in (False, True):
        if trained:
            (part,) = [part for part in parts_of(['s2t'], out) if part.method == 's']
            run_parts([part], out)
        with pytest.raises(
            ComparisonError,
            match=('S→T seed 0 was trained from another S seed 0 .*remove .*/s2t/seed'),
        ):
            straw(['s2t', 'l2t'])
    shutil.rmtree(out / 's2t/seed_0')
    works, diary = straw(['s2t', 'l2t'])
    assert [line for line in diary if line] == [
        'train s2t',
        'test s2t',
        'train l2t',
        'test l2t',
    ]


def test_a_training_that_was_cut_off_keeps_its_networks(straw, tmp_path):
    straw(['s2t'], broken=['s2t'])
    shutil.rmtree(tmp_path / 'out/s/seed_0')
    with pytest.raises(ComparisonError, match='remove .*/s2t/seed_0 to train it anew'):
        straw(['s2t'])


def test_a_misspelt_metric_is_named_after_the_first_test(straw, tmp_path):
    with pytest.raises(
        ComparisonError,
        match=(r"H→T seed 0 has no metric 'mIou'; there are \['mIoU'\]: .*--metric"),
    ):
        straw(['h2t', 'l2t', 's2t'], metric='mIou')
    assert (tmp_path / 'diary.txt').read_text() == 'train h2t\ntest h2t\n'
    # The same without a training where that test was of an earlier start.
    with pytest.raises(ComparisonError, match="no metric 'mIou'"):
        straw(['h2t', 'l2t', 's2t'], metric='mIou')
    assert (tmp_path / 'diary.txt').read_text() == ''
    works, _ = straw(['h2t', 'l2t', 's2t'], metric='mIoU')
    assert all(work.state == 'done' for work in works.values())


@pytest.mark.parametrize(
    'metric, metrics, known',
    [
        ('coco/bbox_mAP_5O', ['coco/bbox_mAP', 'sr/PSNR'], False),
        ('bbox_mAP', ['coco/bbox_mAP', 'sr/PSNR', 'time'], False),
        (
            'coco/bbox_mAP',
            ['sr/PSNR', 'time', 'data_time'],
            True,
        ),  # nothing was detected
        ('coco/bbox_mAP', ['pascal_voc/mAP'], True),
        ('mIoU', ['sr/PSNR', 'time'], True),
        ('mIoU', ['mIoU', 'aAcc'], True),
        ('sr/PSRN', ['mIoU', 'sr/PSNR'], False),
    ],
)
def test_only_a_metric_that_is_surely_misspelt_stops(metric, metrics, known, tmp_path):
    (part,) = parts_of(['l2t'], tmp_path)
    part.folder.mkdir(parents=True)
    (part.folder / 'tested.json').write_text(
        json.dumps(dict(metrics=dict.fromkeys(metrics, 0.5)))
    )
    team = runner.Team([part], 1, 8, 0, metric)
    if not known:
        with pytest.raises(ComparisonError, match='there are'):
            team.check_metric(part, metric)
    else:
        team.check_metric(part, metric)
    assert team.stopped is not known


def test_several_at_once(straw):
    # Each training ends only when all three have begun.
    works, diary = straw(['h2t', 'l2t', 's_and_t'], jobs=3, company=3)
    assert all(work.state == 'done' for work in works.values())


def test_one_comparison_at_a_time(straw, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    with runner.locked(out) as lock:
        with pytest.raises(ComparisonError, match='is at work in'):
            straw(['l2t'])
        # A training that outlives its comparison holds the folder too.
        child = subprocess.Popen(
            [sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, pass_fds=[lock]
        )
    with pytest.raises(ComparisonError, match='is at work in'):
        straw(['l2t'])
    child.communicate(b'\n')
    works, _ = straw(['l2t'])
    assert works['l2t'].state == 'done'


def test_stopping_leaves_no_process(straw, tmp_path, monkeypatch):
    processes = []
    plain = subprocess.Popen

    def popen(*args, **kwargs):
        processes.append(plain(*args, **kwargs))
        return processes[-1]

    def interrupt(works):
        if (tmp_path / 'diary.txt').read_text():
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, 'Popen', popen)
    with pytest.raises(KeyboardInterrupt):
        straw(['h2t', 'l2t'], company=99, display=interrupt)
    assert len(processes) == 1 and processes[0].poll() not in (None, 0)
    works, _ = straw(['h2t', 'l2t'])
    assert all(work.state == 'done' for work in works.values())


@pytest.mark.parametrize(
    'jobs, slot, given, expected',
    [
        (1, 0, {}, {}),
        (2, 1, {'CUDA_VISIBLE_DEVICES': '4,6'}, {'CUDA_VISIBLE_DEVICES': '6'}),
        (
            3,
            2,
            {'CUDA_VISIBLE_DEVICES': '4,6', 'OMP_NUM_THREADS': '5'},
            {'CUDA_VISIBLE_DEVICES': '4', 'OMP_NUM_THREADS': '5'},
        ),
    ],
)
def test_parts_at_once_share_the_machine(jobs, slot, given, expected, monkeypatch):
    for key in ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS'):
        monkeypatch.delenv(key, raising=False)
    for key, value in given.items():
        monkeypatch.setenv(key, value)
    settings = runner.slot_settings(slot, jobs)
    assert {key: settings.get(key) for key in expected} == expected
    assert ('OMP_NUM_THREADS' in settings) == (jobs > 1)
