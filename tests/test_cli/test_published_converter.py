"""The files of the authors of SR4IR, against networks that are built without us.

T is torchvision's own, S that of `original_networks`.
"""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import DefaultScope
from original_networks import (
    DEPTHS,
    DIM,
    HEADS,
    MEAN,
    SIDE,
    WINDOW,
    edsr_net,
    edsr_weights,
    swinir_net,
    swinir_weights,
)
from test_model_converters import RAN, TOOLS, Attack, without
from torchvision.models import resnet18, shufflenet_v2_x0_5
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone
from torchvision.models.segmentation import (
    deeplabv3_mobilenet_v3_large,
    lraspp_mobilenet_v3_large,
)

from mmsr4ir.apis import SR4IRInferencer
from mmsr4ir.cli import published2mmsr4ir as tool
from mmsr4ir.engine.build import build_model
from mmsr4ir.utils.configs import config_values

SCALE, CLASSES = 2, 21
MEAN_255 = [255 * value for value in MEAN]
EDSR = dict(
    type='mmagic.EDSRNet',
    in_channels=3,
    out_channels=3,
    mid_channels=8,
    num_blocks=2,
    upscale_factor=SCALE,
    rgb_mean=MEAN_255,
)
SWINIR = dict(
    type='mmagic.SwinIRNet',
    upscale=SCALE,
    in_chans=3,
    img_size=SIDE,
    window_size=WINDOW,
    img_range=1.0,
    depths=list(DEPTHS),
    embed_dim=DIM,
    num_heads=[HEADS] * len(DEPTHS),
    mlp_ratio=2.0,
    upsampler='pixelshuffle',
)
BILINEAR = dict(type='mmsr4ir.InterpolateUpsampler', scale=SCALE)
RESNET = dict(
    type='mmsr4ir.TorchvisionClassifier', arch='resnet18', num_classes=CLASSES
)
SHUFFLENET = dict(RESNET, arch='shufflenet_v2_x0_5')  # quick to save and to load
DEEPLAB = dict(
    type='mmsr4ir.TorchvisionSegmentor',
    arch='deeplabv3_mobilenet_v3_large',
    num_classes=CLASSES,
    aux_loss=True,
)
FASTER = dict(
    type='mmsr4ir.TorchvisionDetector',
    arch='fasterrcnn_mobilenet_v3_large_fpn',
    num_classes=CLASSES - 1,
    frozen_batch_norm=True,
    min_size=32,
    max_size=64,
)
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture(autouse=True)
def _scope():
    """Each library sets its own default scope, which the next one must not find."""
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


def faster_rcnn():
    """As torchvision and the authors build it for a backbone that is pretrained."""
    backbone = mobilenet_backbone(
        backbone_name='mobilenet_v3_large', weights=None, fpn=True
    )
    anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1, 2),) * 3)
    return FasterRCNN(
        backbone,
        CLASSES,
        rpn_anchor_generator=anchors,
        min_size=32,
        max_size=64,
        rpn_score_thresh=0.05,
    )


NETWORKS = dict(
    cls=(RESNET, partial(resnet18, num_classes=CLASSES)),
    seg=(
        DEEPLAB,
        partial(
            deeplabv3_mobilenet_v3_large,
            num_classes=CLASSES,
            weights_backbone=None,
            aux_loss=True,
        ),
    ),
    det=(FASTER, faster_rcnn),
)


def write_config(
    folder: Path, sr: dict, task: dict, dataset: dict | None = None, **settings
) -> Path:
    """A config of the bases that are shipped, with small networks."""
    path, bases = folder / 'config.py', ROOT / 'configs/_base_'
    recipe = 'l2t' if sr['type'] == BILINEAR['type'] else 's_and_t'
    model = dict(
        sr=sr,
        task=task,
        degradation=dict(type='mmsr4ir.BicubicDownsample', scale=SCALE),
        **settings,
    )
    path.write_text(f"""
_base_ = ['{bases}/sr4ir.py', '{bases}/recipes/{recipe}.py']
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
model = dict(_base_.sr4ir_model, **(dict(recipe=_base_.recipe) | {model}))
test_dataloader = dict(dataset={dataset or dict()})
visualizer = dict(type='mmdet.DetLocalVisualizer')
""")
    return path


def save(weights: dict, path: Path) -> Path:
    torch.save(weights, path)
    return path


def draw_weights(network) -> dict:
    """Weights that nothing initialises; the network gets them and is returned whole."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            scale = 1 / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else 0.2
            value.copy_(
                torch.rand(value.shape) + 0.5
                if 'running_var' in name
                else scale * torch.randn(value.shape)
            )
        else:
            value.fill_(7)
    return network.eval().state_dict()


def run(config: Path, **files: Path) -> Path:
    """Run the tool, whose output lies beside the config unless said otherwise."""
    files.setdefault('out', config.with_name('out.pth'))
    tool.main([str(config), *(f'--{name}={path}' for name, path in files.items())])
    return files['out']


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, Path]:
    """An EDSR and a classifier, as the authors name their files."""
    folder = tmp_path_factory.mktemp('models')
    return dict(
        sr=save(edsr_weights(SCALE), folder / 'net_sr_latest.pth'),
        task=save(
            shufflenet_v2_x0_5(num_classes=CLASSES).state_dict(),
            folder / 'net_cls_latest.pth',
        ),
    )


def fails(said: str, config: Path, **files) -> str:
    """Check that the tool says so in one line, and writes nothing; return the line."""
    out = files.setdefault('out', config.with_name('out.pth'))
    before = out.read_bytes() if out.exists() else None
    with pytest.raises(SystemExit) as exit_:
        run(config, **files)
    message = str(exit_.value)
    assert message.startswith('error: ') and '\n' not in message
    assert said in message, message
    assert (out.read_bytes() if out.exists() else None) == before
    assert not RAN
    return message


@torch.no_grad()
@pytest.mark.parametrize(
    'kind, wrap',
    [
        ('cls', lambda w: w),
        ('seg', lambda w: dict(params=w)),
        ('det', lambda w: {f'module.{name}': value for name, value in w.items()}),
    ],
)
def test_both_networks_compute_the_same(tmp_path, kind, wrap):
    task, original = NETWORKS[kind]
    original = original()
    t = draw_weights(original)
    if kind == 'seg':
        s, sr, settings = swinir_weights('pixelshuffle', SCALE), SWINIR, {}
    else:
        s, sr, settings = edsr_weights(SCALE), EDSR, dict(sr_range=255)
    config = write_config(tmp_path, sr, task, **settings)
    out = run(
        config,
        sr=save(wrap(s), tmp_path / 'net_sr.pth'),
        task=save(t, tmp_path / 'net_t.pth'),
    )
    model = build_model(Config.fromfile(config), str(out))
    assert {f'task.{name}' for name in t} == {
        name for name in model.state_dict() if name.startswith('task.')
    }

    lr = torch.rand(1, 3, 16, 32)
    want = (
        swinir_net(s, lr, 'pixelshuffle', SCALE)
        if kind == 'seg'
        else edsr_net(s, lr * 255) / 255
    )
    restored = model.super_resolve(lr)
    torch.testing.assert_close(restored, want, atol=1e-5, rtol=1e-5)
    assert want.std() > 0.05
    image = torch.rand(1, 3, 32, 64)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in IMAGENET.values())
    got = model.task((image - mean) / std, mode='tensor')
    if kind == 'det':
        (found,) = original(list(image))
        got = dict(zip(('boxes', 'scores', 'labels'), got, strict=True))
        assert len(found['boxes']) > 3
        torch.testing.assert_close(got, {name: found[name] for name in got})
    else:
        want = original((image - mean) / std)
        want = want['out'] if kind == 'seg' else want
        torch.testing.assert_close(got, want)
        assert want.std() > 0.05


@torch.no_grad()
def test_classes_of_folders(tmp_path):
    """The authors read Stanford Cars from folders, mmpretrain from its lists."""
    original = resnet18(num_classes=196)
    config = write_config(
        tmp_path,
        BILINEAR,
        dict(RESNET, num_classes=196),
        dict(type='mmpretrain.StanfordCars', data_root='data/stanford_cars'),
    )
    out = run(config, task=save(draw_weights(original), tmp_path / 'net_cls.pth'))
    model = build_model(Config.fromfile(config), str(out))
    classes = model.dataset_meta['classes']
    image = torch.rand(2, 3, 64, 64)
    want, got = original(image), model.task(image)
    # From the first letters of the two lists, and the end of the folders.
    for folder, name in (
        (0, 'AM General Hummer SUV 2000'),
        (195, 'smart fortwo Convertible 2012'),
        (1, 'Acura Integra Type R 2001'),
    ):
        torch.testing.assert_close(got[:, classes.index(name)], want[:, folder])
    assert classes.index('Acura Integra Type R 2001') == 5
    torch.testing.assert_close(got.sort().values, want.sort().values)


def test_command_line(tmp_path, run_tool):
    """As a user runs it; the inferencer takes the file, with or without the config."""
    names = [f'class {i}' for i in range(CLASSES - 1)]
    config = write_config(
        tmp_path,
        EDSR,
        FASTER,
        dict(type='mmdet.CocoDataset', metainfo=dict(classes=names)),
        sr_range=255,
    )
    s, original = edsr_weights(SCALE), faster_rcnn()
    inputs = dict(
        sr=save(s, tmp_path / 'net_sr_latest.pth'),
        task=save(draw_weights(original), tmp_path / 'net_det_latest.pth'),
    )
    out = tmp_path / 'work/out.pth'
    process = run_tool(
        sys.executable,
        TOOLS / 'published2mmsr4ir.py',
        config,
        '--sr',
        inputs['sr'],
        '--task',
        inputs['task'],
        '--out',
        out,
    )
    assert f'{out} written' in process.stdout
    meta = torch.load(out)['meta']
    assert meta['converted_from'] == ['net_sr_latest.pth', 'net_det_latest.pth']
    assert meta['dataset_meta']['classes'] == names
    saved = Config(config_values(meta['cfg']))
    assert saved.model == Config.fromfile(config).model
    lr = torch.randint(256, (16, 32, 3), dtype=torch.uint8)
    found = SR4IRInferencer(saved, out, device='cpu', show_progress=False)(
        lr.numpy(), coordinates='sr', draw=False
    )['predictions'][0]
    with torch.no_grad():
        sr = edsr_net(s, lr.permute(2, 0, 1)[None].float())[0] / 255
        (want,) = original([sr])
    assert len(want['boxes']) > 3
    torch.testing.assert_close(torch.tensor(found['scores']), want['scores'])
    torch.testing.assert_close(
        torch.tensor(found['bboxes']), want['boxes'], atol=1e-3, rtol=1e-4
    )
    assert found['labels'] == (want['labels'] - 1).tolist()


@pytest.mark.parametrize(
    'part, change, said',
    [
        ('sr', lambda w: without(w, 'body.1.body.2.bias'), '1 missing, such as body'),
        (
            'sr',
            lambda w: w | {'tail.2.weight': torch.zeros(1)},
            '1 unknown, such as ta',
        ),
        ('sr', lambda w: edsr_weights(SCALE, features=4), 'such as head.0.weight (4, '),
        ('sr', lambda w: edsr_weights(4), '2 unknown, such as tail.0.2.weight'),
        ('sr', lambda w: without(w, 'sub_mean.bias'), 'it has no sub_mean.bias'),
        ('sr', lambda w: swinir_weights('pixelshuffle', SCALE), 'it has no sub_mean'),
        ('sr', lambda w: dict(epoch=3, net_sr=w), "the file holds ['epoch', 'net_sr']"),
        ('sr', lambda w: dict(params=Attack()), 'refused: it holds'),
        ('task', lambda w: without(w, 'fc.bias'), '1 missing, such as fc.bias'),
        ('task', lambda w: w | dict(extra=torch.zeros(1)), '1 unknown, such as extra'),
        (
            'task',
            lambda w: w | {'fc.bias': torch.zeros(3)},
            'fc.bias (3,) instead of (',
        ),
        ('task', lambda w: w | dict(extra=Attack()), 'refused: it holds'),
        ('task', lambda w: w | {3: torch.zeros(1)}, '1 unknown, such as 3'),
        ('task', lambda w: [w], 'it holds a list'),
    ],
)
def test_files_of_another_network(tmp_path, files, part, change, said):
    config = write_config(tmp_path, EDSR, SHUFFLENET, sr_range=255)
    bad = save(change(torch.load(files[part])), tmp_path / 'bad.pth')
    message = fails(said, config, **files | {part: bad})
    assert message.startswith(f'error: --{part} {bad}: ')


@pytest.mark.parametrize(
    'sr, settings, said',
    [
        (EDSR, {}, 'from images in [0, 1]: set model.sr_range=255'),
        (
            without(EDSR, 'rgb_mean'),
            dict(sr_range=255),
            'rgb_mean=[114.444, 111.4605, 103',
        ),
        (dict(EDSR, rgb_std=[2.0] * 3), dict(sr_range=255), 'and no rgb_std'),
        (dict(EDSR, res_scale=0.1), dict(sr_range=255), 'model.sr.res_scale=0.1'),
        (
            SWINIR,
            dict(sr_range=255),
            'leave model.sr_range=255 and model.sr.img_range=1',
        ),
        (
            dict(SWINIR, img_range=255.0),
            {},
            'leave model.sr_range=1 and model.sr.img_rang',
        ),
        (
            dict(
                type='mmagic.MSRResNet',
                in_channels=3,
                out_channels=3,
                mid_channels=4,
                num_blocks=1,
                upscale_factor=SCALE,
            ),
            {},
            'model.sr is MSRResNet; the autho',
        ),
        (
            BILINEAR,
            {},
            'model.sr is InterpolateUpsampler, which has no parameters: leav',
        ),
    ],
)
def test_configs_of_another_sr_network(tmp_path, files, sr, settings, said):
    fails(said, write_config(tmp_path, sr, SHUFFLENET, **settings), **files)


def test_the_mean_in_another_unit(tmp_path, files):
    """In mmagic's own configs images are in [0, 1]; the same EDSR results."""
    sr = dict(EDSR, rgb_mean=list(MEAN), rgb_std=[1 / 255] * 3)
    config = write_config(tmp_path, sr, SHUFFLENET)
    model = build_model(Config.fromfile(config), str(run(config, **files)))
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        want = edsr_net(torch.load(files['sr']), image * 255) / 255
        torch.testing.assert_close(
            model.super_resolve(image), want, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize('is_frozen', [False, True])
def test_frozen_batch_norm(tmp_path, is_frozen):
    """A file of the other kind than the config; that of a detector is frozen."""
    weights = lraspp_mobilenet_v3_large(
        num_classes=CLASSES, weights_backbone=None
    ).state_dict()
    counters = [
        name
        for name in weights
        if name.startswith('backbone.') and name.endswith('num_batches_tracked')
    ]
    config = write_config(
        tmp_path,
        BILINEAR,
        dict(
            DEEPLAB,
            arch='lraspp_mobilenet_v3_large',
            aux_loss=None,
            frozen_batch_norm=is_frozen,
        ),
    )
    if not is_frozen:
        weights = without(weights, *counters)
    has = 'has' if is_frozen else 'has no'
    fails(
        f'{has} num_batches_tracked ({len(counters)} tensors): set model.task.'
        f'frozen_batch_norm={not is_frozen}',
        config,
        task=save(weights, tmp_path / 'net_seg_latest.pth'),
    )


def test_configs_of_other_models(tmp_path, files):
    task = files['task']
    other = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.LeNet5'),
        data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
    )
    config = write_config(tmp_path, BILINEAR, other)
    fails(
        'model.task is ImageClassifier; the authors have networks of', config, task=task
    )
    config = write_config(
        tmp_path,
        BILINEAR,
        SHUFFLENET,
        tdp=dict(type='mmsr4ir.TDPLoss', layer='network.conv5', levels=(-1,)),
        teacher=dict(init_cfg=dict(type='Pretrained', checkpoint='-')),
        recipe=dict(task=dict(update='task', losses=dict(task_sr=dict(match=1.0)))),
    )
    fails(
        f'{config}: there is more in the model than both networks: 338 missing, such '
        'as teacher.conv1.0.weight',
        config,
        task=task,
    )
    config.write_text("model = dict(type='mmpretrain.ImageClassifier')")
    fails(f'{config}: the model cannot be built', config, task=task)


def test_nothing_is_overwritten(tmp_path, files):
    config = write_config(tmp_path, EDSR, SHUFFLENET, sr_range=255)
    for name, path in dict(files, config=config).items():
        fails(f'{path}: it would be overwritten', config, **files, out=path)
        assert path.exists(), name
    earlier = save(dict(), tmp_path / 'out.pth')
    fails('there is no such file', config, **files | dict(sr=tmp_path / 'none.pth'))
    fails('error: ', config, **files, out=tmp_path / 'config.py/out.pth')
    assert torch.load(earlier) == {}
    run(config, **files)
    assert set(torch.load(earlier)) == {'meta', 'state_dict'}
