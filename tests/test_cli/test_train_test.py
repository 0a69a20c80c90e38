"""The command lines as a user runs them: train, resume, test, two processes."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from mmsr4ir.compat.checkpoint import load_from_local, load_predictions

PYTHON = sys.executable
CONFIG = 'configs/sr4ir/faster-rcnn_edsr_tiny.py'
# Some processors take other kernels for a batch of two, and round differently.
ONE_BY_ONE = {'test_dataloader.batch_size': 1}


@pytest.fixture(scope='module')
def trained(tmp_path_factory, coco_root, tiny_options, run_tool):
    work = tmp_path_factory.mktemp('work')
    process = run_tool(
        PYTHON, 'tools/train.py', CONFIG, '--work-dir', work, *tiny_options(coco_root)
    )
    return work, process.stdout


def logged(work: Path, text: str, at: str) -> tuple[dict[str, float], str]:
    """What one iteration put into scalars.json, and its line."""
    lines = [line for line in text.splitlines() if ' - INFO - Epoch ' in line]
    i = next(i for i, line in enumerate(lines) if f'Epoch {at} | ' in line)
    scalars = map(
        json.loads, next(work.glob('*/vis_data/scalars.json')).read_text().splitlines()
    )
    return [values for values in scalars if 'iter' in values][i], lines[i]


def test_training_logs_both_phases_and_the_stages(trained):
    work, text = trained
    assert re.search(r"Stage 'warmup' from epoch 1 on: .*'sr': \['pixel'\]", text)
    assert re.search(r"Stage 'main' from epoch 2 on: .*'sr': \['pixel', 'tdp'\]", text)
    first, line = logged(work, text, '1/2 [1/3]')
    assert ' | warmup, TDP off | loss sr ' in line and 'sr/loss_tdp' not in first
    # Of a detector's many losses the line has the sum for each image.
    shown = re.search(r'loss task (\S+) = sr (\S+) \+ hr (\S+) \+ mix (\S+)', line)
    parts = [
        [value for key, value in first.items() if key.startswith(f'task/{image}/loss_')]
        for image in ('sr', 'hr', 'mix')
    ]
    assert [len(values) for values in parts] == [4] * 3
    assert [float(value) for value in shown.groups()] == pytest.approx(
        [first['task/loss'], *map(sum, parts)], rel=1e-3
    )
    last, line = logged(work, text, '2/2 [3/3]')
    assert last['sr/loss_tdp'] > 0
    assert re.search(r'main, TDP on \| loss sr \S+ = pixel \S+ \+ tdp \S+ \|', line)
    assert re.search(
        rf'learning rate sr {last["sr.lr"]:.2e}, task {last["task.lr"]:.2e} \|', line
    )
    assert re.search(r'coco/bbox_mAP: .*sr/PSNR: \d+\.\d+', text)
    assert (work / 'epoch_1.pth').is_file() and (work / 'epoch_2.pth').is_file()


def test_a_checkpoint_holds_both_networks_and_optimizers(trained):
    checkpoint = load_from_local(trained[0] / 'epoch_2.pth')
    prefixes = {key.split('.')[0] for key in checkpoint['state_dict']}
    assert prefixes == {'sr', 'task'}
    assert set(checkpoint['optimizer']) == {'sr', 'task'}
    for state in checkpoint['optimizer'].values():
        assert state['state'] and state['param_groups']


def test_resume_goes_on_as_if_never_cut(
    trained, tmp_path, coco_root, tiny_options, run_tool
):
    work, text = trained
    process = run_tool(
        PYTHON,
        'tools/train.py',
        CONFIG,
        '--work-dir',
        tmp_path,
        '--resume',
        work / 'epoch_1.pth',
        *tiny_options(coco_root),
        fresh=True,
    )
    assert 'resumed epoch: 1, iter: 3' in process.stdout
    assert 'leaked' not in process.stdout  # at its very end, by triton
    assert "Stage 'main' from epoch 2" in process.stdout
    whole, resumed = (
        load_from_local(folder / 'epoch_2.pth') for folder in (work, tmp_path)
    )
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][name]), name
    for name in ('sr', 'task'):
        one, other = (run['optimizer'][name] for run in (whole, resumed))
        assert one['param_groups'] == other['param_groups']
        for key, state in one['state'].items():
            assert all(
                torch.equal(value, other['state'][key][part])
                for part, value in state.items()
            )


def test_a_truncated_checkpoint_is_named_and_the_one_before_it_used_when_asked(
    trained, tmp_path, coco_root, tiny_options, run_tool
):
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    last = tmp_path / 'epoch_2.pth'
    last.write_bytes(last.read_bytes()[:-1000])
    for name in ('epoch_1.pth', 'epoch_2.pth'):  # copying does not keep the note's path
        os.utime(tmp_path / name, (int(name[6]), int(name[6])))
    (tmp_path / 'last_checkpoint').write_text(str(last))
    command = (PYTHON, 'tools/train.py', CONFIG, '--work-dir', tmp_path, '--resume')
    refused = run_tool(*command, *tiny_options(coco_root), ok=False)
    assert refused.returncode == 1
    assert f'{last} is truncated' in refused.stdout
    assert f'--resume {tmp_path}/epoch_1.pth' in refused.stdout
    process = run_tool(*command, 'previous', *tiny_options(coco_root))
    assert 'resumed epoch: 1, iter: 3' in process.stdout
    assert load_from_local(last)['meta']['epoch'] == 2  # whole again


@pytest.fixture(scope='module')
def tested(trained, tmp_path_factory, coco_root, tiny_options, run_tool):
    """A test in one process."""
    work = tmp_path_factory.mktemp('tested')
    process = run_tool(
        PYTHON,
        'tools/test.py',
        CONFIG,
        trained[0] / 'epoch_2.pth',
        '--work-dir',
        work,
        '--out',
        work / 'out.pkl',
        '--show-dir',
        work / 'show',
        *tiny_options(coco_root, **ONE_BY_ONE),
    )
    return work, process.stdout


def metrics(work: Path) -> dict[str, float]:
    """What a test measured, without times."""
    (path,) = (path for path in work.glob('*/*.json') if path.stem == path.parent.name)
    return {
        key: value
        for key, value in json.loads(path.read_text()).items()
        if key not in ('time', 'data_time')
    }


def test_testing_writes_predictions_and_pictures(tested):
    work, text = tested
    assert re.search(r'coco/bbox_mAP: .*sr/PSNR: \d+\.\d+ +sr/SSIM', text)
    predictions = load_predictions(work / 'out.pkl')
    assert len(predictions) == 3
    assert all('images' not in p and 'pred_instances' in p for p in predictions)
    assert len(list((work / 'show').glob('*.png'))) == 3


def test_the_mirror_image_of_a_detector_is_turned_back(
    trained, tested, coco_root, tiny_options, run_tool, tmp_path
):
    run_tool(
        PYTHON,
        'tools/test.py',
        CONFIG,
        trained[0] / 'epoch_2.pth',
        '--tta',
        '--work-dir',
        tmp_path / 'test',
        '--out',
        tmp_path / 'out.pkl',
        '--show-dir',
        tmp_path / 'show',
        *tiny_options(coco_root),
    )
    assert {'coco/bbox_mAP', 'sr/PSNR'} <= set(metrics(tmp_path / 'test'))
    assert len(list((tmp_path / 'show').glob('*.png'))) == 3
    merged, plain = (
        load_predictions(path / 'out.pkl') for path in (tmp_path, tested[0])
    )
    for both, one in zip(merged, plain, strict=True):
        boxes, own = (each['pred_instances']['bboxes'] for each in (both, one))
        # Each box is one of either image's; those of the image itself are known.
        shared = (torch.cdist(boxes, own) < 1e-3).any(1)
        assert shared.any() and not shared.all()
        assert boxes.min() >= 0 and (boxes[:, 2] <= both['ori_shape'][1]).all()


@pytest.mark.slow
def test_two_processes_test_as_one(
    tmp_path, coco_root, tiny_options, run_tool, trained, tested
):
    # Three images: one of the processes tests one of them again.
    run_tool(
        'bash',
        'tools/dist_test.sh',
        CONFIG,
        trained[0] / 'epoch_2.pth',
        2,
        '--work-dir',
        tmp_path / 'test',
        *tiny_options(coco_root, **ONE_BY_ONE),
        env=dict(PORT='29614', PATH=f'{PYTHON.rpartition("/")[0]}:/usr/bin:/bin'),
    )
    found = metrics(tmp_path / 'test')
    assert found == metrics(tested[0])
    assert {'coco/bbox_mAP', 'sr/PSNR', 'sr/SSIM'} <= set(found)


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_help(tool, run_tool):
    text = run_tool(PYTHON, f'tools/{tool}.py', '--help').stdout
    assert '--work-dir' in text and '--cfg-options' in text and '--launcher' in text


@pytest.mark.parametrize(
    'tool', ['train.py', 'compare.py', 'analysis_tools/get_flops.py']
)
def test_a_misspelt_setting_is_named(tool, run_tool):
    process = run_tool(
        PYTHON,
        f'tools/{tool}',
        CONFIG,
        '--cfg-options',
        'optim_wraper.sr.optimizer.lr=0.5',
        ok=False,
    )
    assert process.returncode == 1
    assert (
        "--cfg-options optim_wraper.sr.optimizer.lr: nothing reads 'optim_wraper'; "
        "did you mean 'optim_wrapper'?"
    ) in process.stdout


def test_amp_dtype_is_of_amp(run_tool):
    process = run_tool(
        PYTHON, 'tools/train.py', CONFIG, '--amp-dtype', 'bfloat16', ok=False
    )
    assert process.returncode == 2 and '--amp-dtype needs --amp' in process.stdout


def test_amp_without_a_gpu_says_so(coco_root, tiny_options, run_tool):
    if torch.cuda.is_available():
        return
    process = run_tool(
        PYTHON, 'tools/train.py', CONFIG, '--amp', *tiny_options(coco_root), ok=False
    )
    assert process.returncode == 1
    assert 'error: --amp on a CPU needs --amp-dtype: bfloat16' in process.stdout


def test_every_switch_at_once(tmp_path, trained, coco_root, tiny_options, run_tool):
    process = run_tool(
        PYTHON,
        'tools/train.py',
        CONFIG,
        '--amp',
        '--amp-dtype',
        'bfloat16',
        '--work-dir',
        tmp_path,
        *tiny_options(
            coco_root,
            **{
                'train_cfg.max_epochs': 1,
                'train_cfg.val_interval': 1,
                'default_hooks.alternate.warmup': 0,
                'model.channels_last': True,
                'model.recipe.task.reuse_sr': True,
                'model.recipe.sr.losses.tdp_teacher': 0.5,
                'model.teacher.init_cfg.type': 'Pretrained',
                'model.teacher.init_cfg.checkpoint': trained[0] / 'epoch_1.pth',
                'optim_wrapper.sr.accumulative_counts': 2,
                'optim_wrapper.task.accumulative_counts': 3,
                'default_hooks.ema.type': 'EMAHook',
                'default_hooks.compile.type': 'mmsr4ir.CompileHook',
                'default_hooks.compile.modules': '[task.neck]',
                'default_hooks.compile.backend': 'eager',
                'default_hooks.less_memory.type': 'mmsr4ir.ActivationCheckpointHook',
                'default_hooks.less_memory.modules': '[sr.body]',
                'default_hooks.sparse_roi_align.type': 'mmsr4ir.SparseRoIAlignHook',
            },
        ),
    )
    last, _ = logged(tmp_path, process.stdout, '1/1 [3/3]')
    assert last['sr/loss_tdp'] > 0 and last['task/mix/loss_cls'] > 0
    assert last['sr/loss_tdp_teacher'] > 0
    checkpoint = load_from_local(tmp_path / 'epoch_1.pth')
    before = load_from_local(trained[0] / 'epoch_1.pth')['state_dict']
    names = checkpoint['state_dict'].keys()
    teacher = {name for name in names if name.startswith('teacher.')}
    assert names - teacher == before.keys()
    for name in teacher:
        was = before[name.replace('teacher.', 'task.')]
        assert torch.equal(checkpoint['state_dict'][name], was)
    averages = {
        name.removeprefix('module.'): value
        for name, value in checkpoint['ema_state_dict'].items()
    }
    assert {*names} == {*averages} - {'steps'}
    # MMEngine saves the averages in the place of the weights, and the other way round.
    for part in ('sr.conv_first.weight', 'task.rpn_head.rpn_cls.weight'):
        assert not torch.equal(checkpoint['state_dict'][part], averages[part])
    assert all('loss_scaler' in wrapper for wrapper in checkpoint['optimizer'].values())


@pytest.mark.parametrize(
    'setting, message',
    [
        (
            'model.degradation.scale=2',
            'a scale of 4, but model.degradation has scale 2',
        ),
        (
            'model.sr.type=mmagic.EDSRNett',
            'no network is called .*Did you mean EDSRNet',
        ),
        (
            'model.sr.type=mmagic.ViCo',
            r'\nerror: .*mmagic\.ViCo needs the package diff',
        ),
    ],
)
def test_a_config_that_cannot_work_is_refused(
    setting, message, coco_root, tiny_options, run_tool, tmp_path
):
    process = run_tool(
        PYTHON,
        'tools/train.py',
        CONFIG,
        '--work-dir',
        tmp_path,
        *tiny_options(coco_root),
        setting,
        ok=False,
    )
    assert process.returncode != 0 and re.search(message, process.stdout)
    assert not list(tmp_path.glob('*.pth'))


def test_a_checkpoint_of_another_architecture_is_refused(
    trained, coco_root, tiny_options, run_tool, tmp_path
):
    process = run_tool(
        PYTHON,
        'tools/test.py',
        CONFIG,
        trained[0] / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        *tiny_options(coco_root),
        'model.sr.mid_channels=8',
        ok=False,
    )
    assert process.returncode != 0
    assert re.search('holds another architecture.*sr.conv_first.weight', process.stdout)
    process = run_tool(
        PYTHON,
        'tools/test.py',
        CONFIG,
        tmp_path / 'none.pth',
        '--work-dir',
        tmp_path,
        *tiny_options(coco_root),
        ok=False,
    )
    assert process.stdout.endswith('none.pth does not exist\n')


@pytest.mark.slow
def test_a_tool_of_mmdet_tests_a_checkpoint(
    trained, tmp_path, coco_root, tiny_options, run_tool
):
    """mmdet's test.py imports mmcv.ops before it reads custom_imports."""
    text = run_tool(
        PYTHON,
        '-m',
        'mmsr4ir',
        'run',
        'mmdet::test.py',
        CONFIG,
        trained[0] / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        *tiny_options(coco_root),
    ).stdout
    assert 'Test | coco/bbox_mAP: ' in text and 'sr/PSNR: ' in text
    text = run_tool(
        PYTHON, '-m', 'mmsr4ir', 'run', 'mmdet::nothing.py', ok=False
    ).stdout
    assert text.splitlines()[-1].startswith('error: there is no script ')
