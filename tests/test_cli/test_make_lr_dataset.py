"""LR images on disk: those that a model sees; and a training on degraded images."""

import re
import shutil
import sys
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config, DictAction

from mmsr4ir.cli import make_lr_dataset as tool
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.models.image_space import extend_edges
from mmsr4ir.registry import MODELS

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/dataset_converters/make_lr_dataset.py'
PRESETS = ROOT / 'configs/_base_/degradations'


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Path:
    """The demo of detection with the degradation mix_b, as a user writes it."""
    path = tmp_path_factory.mktemp('config') / 'mixed.py'
    path.write_text(
        f"_base_ = ['{ROOT}/configs/sr4ir/faster-rcnn_edsr_tiny.py',\n"
        f"          '{PRESETS}/mix_b.py']\n"
        'model = dict(degradation=dict(_base_.degradation, _delete_=True))\n'
    )
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments, ok: bool = True) -> str:
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
        if ok:
            tool.main()
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as end:
            tool.main()
        assert isinstance(end.value.code, str) and 'error: ' in end.value.code
        return end.value.code

    return call


@pytest.fixture
def images(coco_root, tmp_path) -> Path:
    """Images in a folder with a sub folder, and a file that is none."""
    folder = tmp_path / 'hr'
    shutil.copytree(coco_root / 'val', folder / 'a' / 'b')
    shutil.copy(coco_root / 'train' / '3.png', folder / 'one.png')
    (folder / 'notes.txt').write_text('none')
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_what_is_written_is_what_the_validation_sees(
    config, coco_root, tiny_options, run, run_tool, tmp_path
):
    options = tiny_options(coco_root)
    shown = run_tool(sys.executable, TOOL, config, '--out', tmp_path / 'x', *options)
    assert '3/3' in shown.stdout and f'3 LR images are in {tmp_path}/x' in shown.stdout
    written = contents(tmp_path / 'x')
    assert sorted(written) == ['0.png', '1.png', '2.png']

    cfg = Config.fromfile(config)
    cfg.merge_from_dict(
        dict(
            (key, DictAction._parse_iterable(value))
            for key, value in (option.split('=', 1) for option in options[1:])
        )
    )
    model = build_model(cfg)
    seen = {}
    for data in build_loader(cfg, 'val', batch_size=3):
        for sample in model.val_step(data):
            seen[Path(sample.img_path).stem] = sample.images['lr']
    assert len(seen) == 3 and {tuple(lr.shape) for lr in seen.values()} == {
        (3, 16, 16),
        (3, 16, 12),
    }, 'made of the images as they are'
    for name, lr in seen.items():
        got = cv2.imread(str(tmp_path / 'x' / f'{name}.png'))[..., ::-1]
        np.testing.assert_array_equal(got, lr.permute(1, 2, 0).numpy())

    text = run(config, '--out', tmp_path / 'x', *options, ok=False)
    assert re.search(r'0\.png and 2 more are there already.*--overwrite', text)
    options.append('val_dataloader.sampler.shuffle=True')
    run(config, '--out', tmp_path / 'x', '--overwrite', *options)
    assert contents(tmp_path / 'x') == written, 'the same bytes a second time'
    options.append('model.degradation.seed=1')
    run(config, '--out', tmp_path / 'other', *options)
    assert contents(tmp_path / 'other')['0.png'] != written['0.png']
    text = run(
        config,
        '--split',
        'test',
        '--out',
        tmp_path / 'none',
        *options,
        'test_dataloader.dataset.ann_file=no.json',
        ok=False,
    )
    assert 'no.json' in text


@pytest.mark.parametrize('preset', ['bicubic_x4', 'mix_a', 'mix_b', 'real_esrgan'])
def test_a_folder(preset, images, run, tmp_path):
    config = PRESETS / f'{preset}.py'
    run(config, '--images', images, '--out', tmp_path / 'lr')
    written = contents(tmp_path / 'lr')
    assert sorted(written) == ['a/b/0.png', 'a/b/1.png', 'a/b/2.png', 'one.png']
    degradation = MODELS.build(Config.fromfile(config).degradation).eval()
    for name, path in (('one.png', 'one.png'), ('a/b/1.png', 'a/b/1.jpg')):
        hr = torch.from_numpy(mmcv.imread(images / path)[..., ::-1] / 255.0)
        hr = extend_edges(hr.permute(2, 0, 1)[None].float(), (), degradation.scale)
        want = degradation(hr)[0].permute(1, 2, 0) * 255
        got = cv2.imread(str(tmp_path / 'lr' / name))[..., ::-1]
        np.testing.assert_array_equal(got, want.round().numpy())
    run(config, '--images', images, '--out', tmp_path / 'again')
    assert contents(tmp_path / 'again') == written


def test_a_size_that_the_scale_does_not_divide_is_rounded_up(run, tmp_path):
    (tmp_path / 'hr').mkdir()
    for i, size in enumerate([(1, 1), (13, 22)]):
        cv2.imwrite(str(tmp_path / 'hr' / f'{i}.png'), np.zeros((*size, 3), np.uint8))
    run(PRESETS / 'mix_b.py', '--images', tmp_path / 'hr', '--out', tmp_path / 'lr')
    shapes = [cv2.imread(str(tmp_path / 'lr' / f'{i}.png')).shape for i in (0, 1)]
    assert shapes == [(1, 1, 3), (4, 6, 3)]


def test_a_broken_file_does_not_stop_the_others(images, run, tmp_path):
    whole = (images / 'a/b/0.png').read_bytes()
    (images / 'a/b/0.png').write_bytes(whole[: len(whole) // 2])
    (images / 'one.png').write_bytes(b'')
    text = run(
        PRESETS / 'mix_a.py', '--images', images, '--out', tmp_path / 'lr', ok=False
    )
    assert '2 were left out' in text and 'one.png is empty' in text
    assert re.search(r'a/b/0\.png is truncated', text)
    assert sorted(contents(tmp_path / 'lr')) == ['a/b/1.png', 'a/b/2.png']


def test_files_of_a_config_that_are_broken_or_would_be_overwritten(
    config, coco_root, tiny_options, run, tmp_path
):
    shutil.copytree(coco_root, tmp_path / 'data')
    options = tiny_options(tmp_path / 'data')
    val = tmp_path / 'data/val'
    before = contents(val)
    for arguments in ((val,), (val, '--overwrite'), (val / 'lr',)):
        assert 'give a folder beside it' in run(
            config, '--out', *arguments, *options, ok=False
        )
    assert contents(val) == before
    (first, second, _) = sorted(val.iterdir())
    first.write_bytes(first.read_bytes()[:100])
    second.unlink()
    text = run(config, '--out', tmp_path / 'lr', *options, ok=False)
    assert '2 were left out' in text and f'{first} is truncated' in text
    assert f'{second} is missing' in text
    run(config, '--out', tmp_path / 'whole', *tiny_options(coco_root))
    whole = contents(tmp_path / 'whole')
    assert contents(tmp_path / 'lr') == {'2.png': whole['2.png']}


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('no.py', '--images', 'hr', '--out', 'lr'), 'no.py does not exist'),
        (('mix_a.py', '--images', 'none', '--out', 'lr'), 'none is no folder'),
        (('mix_a.py', '--images', 'empty', '--out', 'lr'), 'has no image'),
        (('mix_a.py', '--images', 'hr', '--out', 'hr'), 'give a folder beside it'),
        (('mix_a.py', '--images', 'hr', '--out', 'hr/lr'), 'give a folder beside it'),
        (
            ('../recipes/sr4ir.py', '--images', 'hr', '--out', 'lr'),
            'neither model.degradation nor degradation',
        ),
        (('mix_a.py', '--out', 'lr'), 'no mmsr4ir.SR4IR'),
        (
            (
                'mix_b.py',
                '--images',
                'hr',
                '--out',
                'lr',
                '--cfg-options',
                'degradation.steps.0.kernel=40',
            ),
            'odd numbers of pixels, got 40',
        ),
        (
            ('mix_a.py', '--images', 'twice', '--out', 'lr'),
            '0.jpg and 0.png would both',
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    arguments, message, images, run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'twice').mkdir()
    for suffix in ('png', 'jpg'):
        cv2.imwrite(f'twice/0.{suffix}', np.zeros((8, 8, 3), np.uint8))
    config, *rest = arguments
    assert message in run(PRESETS / config, *rest, ok=False)
    assert not (tmp_path / 'lr').exists() and not (images / 'lr').exists()


def test_a_training_and_its_validation_on_mixed_degradations(
    config, coco_root, tiny_options, run_tool, tmp_path
):
    process = run_tool(
        sys.executable,
        'tools/train.py',
        config,
        '--work-dir',
        tmp_path,
        *tiny_options(
            coco_root, **{'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
        ),
    )
    assert re.search(r'coco/bbox_mAP: .*sr/PSNR: \d+\.\d+', process.stdout)
    assert (tmp_path / 'epoch_1.pth').is_file()
