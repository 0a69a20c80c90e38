"""The parts of an SR4IR's checkpoint, loaded by the libraries they belong to."""

import sys
from pathlib import Path

import numpy as np
import pytest
import spandrel
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import load_checkpoint

from mmsr4ir.cli import split_sr4ir as tool
from mmsr4ir.engine import move_resize
from mmsr4ir.registry import MODELS
from toys import toy_runner

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/model_converters/split_sr4ir.py'


@pytest.fixture(autouse=True)
def _scope():
    """Each library sets its own default scope, which the next one must not find."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


def split(*arguments) -> None:
    tool.main([str(argument) for argument in arguments])


def trained(config: str, folder: Path, classes: tuple, **settings):
    """A model with weights that nothing initialises, and its checkpoint."""
    cfg = move_resize(Config.fromfile(ROOT / f'configs/sr4ir/{config}.py'))
    cfg.merge_from_dict(
        {'model.sr.mid_channels': 8, 'model.sr.num_blocks': 1, **settings}
    )
    # As the Runner does for mmpretrain.
    model_cfg = cfg.model.copy()
    if 'data_preprocessor' in cfg:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(model_cfg).eval()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            scale = 0.3 / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.2
            value.copy_(
                torch.randn(value.shape).abs() + 0.5
                if 'running_var' in name
                else scale * torch.randn(value.shape)
            )
    cfg.test_cfg = dict(type='mmsr4ir.LRTestLoop')
    cfg.val_evaluator = dict(type='mmsr4ir.SRQuality')
    path = folder / 'epoch_3.pth'
    torch.save(
        dict(
            state_dict=model.state_dict(),
            optimizer=dict(sr=dict(), task=dict()),
            meta=dict(
                cfg=cfg.pretty_text,
                epoch=3,
                iter=30,
                seed=np.int64(5),
                hook_msgs=dict(last_ckpt='x'),
                dataset_meta=dict(classes=classes, palette=np.eye(3, dtype=int)),
            ),
        ),
        path,
    )
    return model, path


@pytest.fixture
def picture() -> np.ndarray:
    """(64, 48, 3), BGR, [0, 255]."""
    return np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)


def check_alone(model, config: Path, out: Path) -> None:
    """The plain files hold the task network, and nothing of this package."""
    saved = torch.load(out)  # weights_only: plain values alone
    assert saved['meta']['epoch'] == 3 and saved['meta']['seed'] == 5
    assert 'hook_msgs' not in saved['meta'] and 'optimizer' not in saved
    assert saved['state_dict']._metadata == model.task.state_dict()._metadata
    text = config.read_text()
    assert 'sr4ir' not in text and 'mmagic' not in text
    assert saved['meta']['cfg'] == text
    cfg = Config.fromfile(config)
    # MMEngine wants all three parts of a split, or none.
    assert cfg.test_cfg == dict(type='TestLoop') and cfg.test_evaluator
    assert not {'val_dataloader', 'val_cfg', 'val_evaluator'} & set(cfg)
    plain = MODELS.build(cfg.model)
    load_checkpoint(plain, str(out), map_location='cpu', strict=True)
    own = model.task.state_dict()
    assert all(torch.equal(v, own[k]) for k, v in plain.state_dict().items())


def test_detector_in_mmdet(tmp_path, picture):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    classes = ('a', 'b', 'c', 'd')
    # A random network is sure of nothing; boxes are to be compared.
    model, path = trained(
        'faster-rcnn_edsr_tiny',
        tmp_path,
        classes,
        **{'model.task.test_cfg.rcnn.score_thr': 0.01},
    )
    out, config = tmp_path / 'task.pth', tmp_path / 'task.py'
    split(path, '--task', out, '--task-config', config)
    check_alone(model, config, out)

    alone = init_detector(str(config), str(out), device='cpu')
    assert alone.dataset_meta['classes'] == classes
    got = inference_detector(alone, picture).pred_instances
    model.task.cfg = alone.cfg  # where mmdet looks for the pipeline
    want = inference_detector(model.task, picture).pred_instances
    assert len(want) > 10 and want.labels.unique().numel() > 1
    for key in ('bboxes', 'scores', 'labels'):
        assert torch.equal(got[key], want[key])

    # The checkpoint is enough; it holds its config.
    inferencer = DetInferencer(weights=str(out), device='cpu', palette='random')
    got = inferencer(picture, return_datasamples=True)['predictions'][0]
    assert torch.equal(got.pred_instances.bboxes, want.bboxes)


def test_segmentor_in_mmseg(tmp_path, picture):
    from mmseg.apis import inference_model, init_model

    classes = ('a', 'b', 'c')
    model, path = trained('deeplabv3_edsr_tiny', tmp_path, classes)
    out, config = tmp_path / 'task.pth', tmp_path / 'task.py'
    split(path, '--task', out, '--task-config', config)
    check_alone(model, config, out)

    alone = init_model(str(config), str(out), device='cpu')
    assert alone.dataset_meta['classes'] == classes
    got = inference_model(alone, picture).seg_logits.data
    model.task.cfg = alone.cfg
    want = inference_model(model.task, picture).seg_logits.data
    assert want.std() > 1e-3 and torch.equal(got, want)


def test_classifier_in_mmpretrain(tmp_path, picture):
    from mmpretrain.apis import ImageClassificationInferencer, get_model

    classes = ('a', 'b', 'c', 'd')
    model, path = trained('resnet18_edsr_tiny', tmp_path, classes)
    out, config = tmp_path / 'task.pth', tmp_path / 'task.py'
    split(path, '--task', out, '--task-config', config)
    check_alone(model, config, out)

    alone = get_model(str(config), str(out), device='cpu')
    init_default_scope('mmpretrain')
    (got,) = ImageClassificationInferencer(alone, device='cpu')(picture)
    model.task._config = alone._config  # where mmpretrain looks for the pipeline
    (want,) = ImageClassificationInferencer(model.task, device='cpu')(picture)
    assert got['pred_class'] == classes[want['pred_label']]
    assert np.ptp(want['pred_scores']) > 1e-3
    assert (got['pred_scores'] == want['pred_scores']).all()


def test_sr_network_in_mmagic(tmp_path, capsys):
    model, path = trained('resnet18_edsr_tiny', tmp_path, (), **{'model.sr_range': 255})
    out, own = tmp_path / 'sr.pth', tmp_path / 'editor.pth'
    split(path, '--sr', out)
    printed = capsys.readouterr().out
    assert 'images in [0, 255]' in printed
    sr = eval(printed[printed.index('dict(') : printed.index('It works')])
    network = MODELS.build(sr)
    load_checkpoint(network, str(out), strict=True)
    image = torch.rand(1, 3, 8, 6)
    with torch.no_grad():
        want = model.sr(image)
        assert want.std() > 1e-3 and torch.equal(network(image), want)

    split(path, '--sr', own, '--sr-prefix', 'generator.')
    editor = MODELS.build(
        dict(
            type='mmagic.BaseEditModel',
            generator=sr,
            pixel_loss=dict(type='mmagic.L1Loss'),
            data_preprocessor=dict(type='mmagic.DataPreprocessor'),
        )
    )
    load_checkpoint(editor, str(own), strict=True)
    with torch.no_grad():
        assert torch.equal(editor(image), want)


def test_sr_network_of_spandrel(tmp_path, capsys):
    """Its file has the names that other programs look for."""
    sr = dict(_delete_=True, type='mmsr4ir.Spandrel', arch='Compact', num_conv=1)
    model, path = trained('resnet18_edsr_tiny', tmp_path, (), **{'model.sr': sr})
    split(path, '--sr', tmp_path / 'sr.pth')
    assert "arch='Compact'" in capsys.readouterr().out
    network = spandrel.ModelLoader().load_from_file(tmp_path / 'sr.pth').model
    image = torch.rand(1, 3, 8, 6)
    with torch.no_grad():
        assert torch.equal(network(image), model.sr(image))


def saved(folder: Path, content: dict) -> Path:
    torch.save(content, folder / 'x.pth')
    return folder / 'x.pth'


def test_averaged_and_last_weights(tmp_path):
    runner = toy_runner(tmp_path, custom_hooks=[dict(type='EMAHook', momentum=0.9)])
    runner.train()
    path, out = tmp_path / 'epoch_1.pth', tmp_path / 'out.pth'
    ema = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook').ema_model
    last, average = runner.model.task, ema.module.task
    assert not torch.equal(last.head.bias, average.head.bias)
    for options, want in (
        ((), average),
        (('--weights', 'average'), average),
        (('--weights', 'last'), last),
    ):
        split(path, '--task', out, *options)
        got = torch.load(out)['state_dict']
        own = want.state_dict()
        assert set(got) == set(own)
        assert all(torch.equal(value, own[name]) for name, value in got.items())


@pytest.mark.parametrize(
    'content, options, said',
    [
        (
            dict(state_dict={'backbone.conv.weight': torch.zeros(1)}),
            ['--task', 'OUT'],
            'no checkpoint of an SR4IR',
        ),
        (
            dict(state_dict={'task.a': torch.zeros(1)}),
            ['--task', 'OUT', '--sr', 'OUT2'],
            'has no parameters',
        ),
        (
            dict(state_dict={'task.a': torch.zeros(1)}),
            ['--task-config', 'OUT'],
            'holds no config',
        ),
        (
            dict(state_dict={'task.a': torch.zeros(1)}),
            ['--task', 'OUT', '--weights', 'last'],
            'trained without EMAHook',
        ),
        (
            dict(state_dict={'task.a': torch.zeros(1)}),
            ['--task', 'IN'],
            'would be overwritten',
        ),
        (
            dict(state_dict={'sr.a': torch.zeros(1), 'task.a': torch.zeros(1)}),
            ['--sr', 'OUT', '--task', 'OUT'],
            'two outputs have one name',
        ),
        (
            dict(
                state_dict={'task.a': torch.zeros(1)},
                meta=dict(cfg='model = dict(sr=exit(), task=dict())'),
            ),
            ['--task-config', 'OUT'],
            'more than values',
        ),
        (
            dict(state_dict={'task.a': torch.zeros(1)}, meta=dict(cfg='exit()')),
            ['--task-config', 'OUT'],
            'more than values',
        ),
    ],
)
def test_what_cannot_be_split(tmp_path, content, options, said):
    path = saved(tmp_path, content)
    before = path.read_bytes()
    names = dict(IN=path, OUT=tmp_path / 'out', OUT2=tmp_path / 'out2')
    with pytest.raises(SystemExit) as exit_:
        split(path, *(names.get(option, option) for option in options))
    assert str(exit_.value).startswith(f'error: {path}: ') and said in str(exit_.value)
    assert [p.name for p in tmp_path.iterdir()] == ['x.pth']
    assert path.read_bytes() == before


def test_a_config_that_is_code_is_left_out(tmp_path, capsys):
    path = saved(
        tmp_path,
        dict(
            state_dict={'task.a': torch.ones(1)},
            meta=dict(cfg='model = dict(sr=exit(), task=dict())'),
        ),
    )
    split(path, '--task', tmp_path / 'task.pth')
    assert 'more than values' in capsys.readouterr().out
    content = torch.load(tmp_path / 'task.pth')
    assert 'cfg' not in content['meta'] and list(content['state_dict']) == ['a']


def test_command_line(tmp_path, capsys, run_tool):
    path = saved(
        tmp_path,
        dict(
            state_dict={name: torch.ones(1) for name in ('sr.a', 'task.b', 'teacher.c')}
        ),
    )
    run_tool(sys.executable, TOOL, path, '--sr', tmp_path / 'new/sr.pth')
    assert list(torch.load(tmp_path / 'new/sr.pth')['state_dict']) == ['a']
    with pytest.raises(SystemExit) as exit_:
        split(path)
    assert exit_.value.code == 2 and 'give --sr, --task or' in capsys.readouterr().err
