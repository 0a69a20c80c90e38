"""torchvision's networks as task networks, against those networks fed in their own way.

Everything is in float64, so that no rounding changes what NMS keeps.
"""

import copy

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional as F
from torchvision.models import detection, get_model, mobilenet_v3_large
from torchvision.ops import FrozenBatchNorm2d, batched_nms

from mmsr4ir.analysis.complexity import count_networks
from mmsr4ir.apis.inferencer import sample_class
from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.engine.tta import use_tta
from mmsr4ir.models.features import FeatureTap, NotReachedError, frozen
from mmsr4ir.models.prediction.lr_input import LRInput
from mmsr4ir.models.recipes import LossTerm
from mmsr4ir.models.weights import WeightsError
from mmsr4ir.registry import MODELS
from toys import RECIPES, changed, snapshot, toy_config

FASTER, MASK = 'fasterrcnn_mobilenet_v3_large_fpn', 'maskrcnn_resnet50_fpn'
SSD, RETINA = 'ssdlite320_mobilenet_v3_large', 'retinanet_resnet50_fpn'
DEEPLAB, LRASPP = 'deeplabv3_mobilenet_v3_large', 'lraspp_mobilenet_v3_large'
TWO_STAGES = dict(  # with samplers that take all, so that nothing is drawn
    min_size=48,
    max_size=64,
    rpn_batch_size_per_image=10**6,
    box_batch_size_per_image=10**6,
    rpn_post_nms_top_n_train=16,
    rpn_post_nms_top_n_test=16,
    box_detections_per_img=6,
)
OPTIONS = {
    FASTER: TWO_STAGES,
    MASK: TWO_STAGES,
    SSD: {},
    RETINA: dict(min_size=(16, 48), max_size=64),
}
OWN = dict.fromkeys(OPTIONS, 'Detector') | {DEEPLAB: 'Segmentor', LRASPP: 'Segmentor'}
CLASSES = 3
SIZES = (24, 32), (32, 28)  # the second becomes (54, 48)


def task_config(arch: str, **changes) -> dict:
    return (
        dict(
            type=f'mmsr4ir.Torchvision{OWN.get(arch, "Classifier")}',
            arch=arch,
            num_classes=CLASSES,
        )
        | OPTIONS.get(arch, {})
        | changes
    )


def prepared(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    return network.double().eval()


def plain_network(arch: str, **options) -> nn.Module:
    """torchvision's; by the statistics of noise the output depends on the image."""
    torch.manual_seed(0)
    options |= OPTIONS.get(arch, {}) | (
        dict(weights_backbone=None) if arch in OWN else {}
    )
    network = prepared(
        get_model(
            arch, weights=None, num_classes=CLASSES + (arch in OPTIONS), **options
        )
    )
    with torch.no_grad():
        getattr(network, 'backbone', network).train()(
            torch.rand(2, 3, 64, 64).double() * 4 - 2
        )
    if arch == RETINA:  # else no score is high enough
        network.head.classification_head.cls_logits.bias.data.zero_()
    return network.eval()


def sr4ir(task: dict, plain: nn.Module | None = None, **changes):
    model = prepared(
        MODELS.build(
            toy_config(
                **dict(task=task, recipe=RECIPES['S+T'], tdp=None, patch_mix=None)
                | changes
            )
        )
    )
    if plain is not None:
        model.task.load_state_dict(plain.state_dict())
    return model


def images(sizes=SIZES) -> list[torch.Tensor]:
    rng = np.random.default_rng(3)  # BGR, uint8, as they are loaded
    return [torch.from_numpy(rng.integers(0, 256, (3, *s), np.uint8)) for s in sizes]


def as_torchvision(loaded: list[torch.Tensor]) -> list[torch.Tensor]:
    return [image.flip(0).double() / 255 for image in loaded]  # RGB, [0, 1]


def normalised(loaded: list[torch.Tensor]) -> torch.Tensor:
    mean, std = (
        torch.tensor(values).double()[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (torch.stack(as_torchvision(loaded)) - mean) / std


def near(ours, theirs, atol: float = 1e-5) -> None:
    # The preprocessor's mean and std are rounded to float32.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=atol)


def detection_data() -> tuple[dict, list[dict]]:
    """Two images, one of them with boxes, whose last has no width; and targets."""
    samples, targets = [], []
    boxes = torch.tensor([[2.0, 3, 20, 15], [10, 5, 30, 23], [9, 9, 9, 20]]).double()
    labels = torch.tensor([2, 0, 1])
    for size, given, good in zip(SIZES, (3, 0), (2, 0), strict=True):
        masks = np.zeros((given, *size), np.uint8)
        masks[:, 7:20, 4:18] = np.arange(given)[:, None, None] < 2
        samples.append(DetDataSample(metainfo=dict(img_shape=size, ori_shape=size)))
        samples[-1].gt_instances = InstanceData(
            bboxes=boxes[:given], labels=labels[:given], masks=BitmapMasks(masks, *size)
        )
        targets.append(
            dict(
                boxes=boxes[:good],
                labels=labels[:good] + 1,
                masks=torch.from_numpy(masks[:good]),
            )
        )
    return dict(inputs=images(), data_samples=samples), targets


def hr_losses(model, data: dict) -> dict[str, torch.Tensor]:
    data = model.data_preprocessor(copy.deepcopy(data), True)
    batch = model.prepare(data['inputs'], data['data_samples'])
    return model.task(*model.task_batch(LossTerm('task_hr', 1.0), batch), mode='loss')


def train_step(model, data: dict) -> dict[str, torch.Tensor]:
    wrapper = PerNetworkOptimWrapperConstructor(
        dict.fromkeys(('sr', 'task'), dict(optimizer=dict(type='SGD', lr=1e-3)))
    )(model)
    return model.train().train_step(copy.deepcopy(data), wrapper)


@pytest.fixture(scope='module')
def faster():
    return plain_network(FASTER)


@pytest.fixture(scope='module', params=[FASTER, RETINA, SSD, MASK])
def detected(request) -> dict:
    arch = request.param
    plain = plain_network(arch)
    model = sr4ir(task_config(arch), plain, test_on='hr')
    data, targets = detection_data()
    rgb = as_torchvision(data['inputs'])
    with torch.no_grad():
        result = dict(
            arch=arch,
            ours=model.test_step(copy.deepcopy(data)),
            theirs=plain(rgb),
            dark=plain([0 * rgb[0]])[0],
        )
    return (
        result
        if arch == RETINA
        else result
        | dict(
            our_losses=hr_losses(model.train(), data),
            logs=train_step(model, data),
            their_losses=plain.train()(rgb, targets),
        )
    )


def test_a_detector_predicts_as_torchvision_does(detected):
    is_mask, theirs = detected['arch'] == MASK, detected['theirs']
    dark, scores = detected['dark']['scores'], theirs[0]['scores']
    assert dark.shape != scores.shape or (dark - scores).abs().max() > 1e-3
    for sample, want, size in zip(detected['ours'], theirs, SIZES, strict=True):
        ours, keep = sample.pred_instances, want['labels'] > 0
        # Only RetinaNet has an output for the background, which would be class -1.
        assert keep.all() == (detected['arch'] != RETINA) and keep.sum() > 2
        near(ours.bboxes, want['boxes'][keep], 1e-3)
        near(ours.scores, want['scores'][keep])
        assert torch.equal(ours.labels, want['labels'][keep] - 1)
        assert sample.metainfo['img_shape'] == size and ('masks' in ours) == is_mask
        if is_mask:
            assert torch.equal(ours.masks, want['masks'][:, 0] > 0.5)
            assert ours.masks.shape[1:] == size
            assert size != SIZES[0] or ours.masks.any()


@pytest.mark.parametrize('detected', [FASTER, SSD, MASK], indirect=True)
def test_its_losses_are_those_of_torchvision(detected):
    ours, logs = detected['our_losses'], detected['logs']
    assert ('loss_mask' in ours) == (detected['arch'] == MASK)
    near(
        ours,
        {
            name if 'loss' in name else f'loss_{name}': value
            for name, value in detected['their_losses'].items()
        },
    )
    assert all(logs[f'both/sr/{name}'].isfinite() for name in ours)


def test_a_frozen_detector_has_losses_too(faster):
    data, targets = detection_data()
    model = sr4ir(task_config(FASTER), faster, recipe=RECIPES['T->S']).train()
    plain = copy.deepcopy(faster)  # with the batch normalisation of eval mode
    plain.training = plain.rpn.training = plain.roi_heads.training = True
    with frozen(model.task):
        ours = hr_losses(model, data)
        assert not any(module.training for module in model.task.modules())
    near(ours, plain(as_torchvision(data['inputs']), targets))
    before = snapshot(model)
    logs = train_step(model, data)
    assert all(value.isfinite() for value in logs.values())
    assert len(logs) == 7  # pixels, four of the detector, the phase's sum, the sum
    assert {name.split('.')[0] for name in changed(before, model)} == {'sr'}


def test_frozen_batch_norm_and_parts_are_torchvisions(faster):
    theirs = detection.backbone_utils._mobilenet_extractor(  # as for loaded weights
        mobilenet_v3_large(norm_layer=FrozenBatchNorm2d), True, 3
    ).double()
    task = (
        MODELS.build(
            task_config(
                FASTER,
                frozen_batch_norm=True,
                frozen=[f'backbone.body.{i}' for i in range(7)],
            )
        )
        .double()
        .train()
    )
    ours, image = task.network.backbone, normalised(images([(64, 64)]))
    for network in (ours, theirs):
        network.load_state_dict(faster.backbone.state_dict(), strict=False)
    near(dict(ours(image)), dict(theirs(image)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [value.requires_grad for value in ours.parameters()] == [
        value.requires_grad for value in theirs.parameters()
    ]
    # The epsilon is another one in segmentors.
    plain = plain_network(LRASPP)
    ours = MODELS.build(task_config(LRASPP, frozen_batch_norm=True)).double().train()
    ours.network.backbone.load_state_dict(plain.backbone.state_dict())
    near(ours.extract_feat(image)['high'], plain.backbone(image)['high'])
    assert isinstance(ours.network.classifier.cbr[1], nn.BatchNorm2d)


def test_a_training_draws_one_of_several_sizes():
    rules = MODELS.build(task_config(FASTER, min_size=(16, 48))).task_resize
    drawn = {rules[True].size((24, 24)).size for _ in range(20)}
    assert drawn == {(16, 16), (48, 48)} and rules[False].size((8, 24)).size == (21, 64)


def classification_data() -> dict:
    return dict(
        inputs=images([(32, 40)] * 2),
        data_samples=[DataSample().set_gt_label(label) for label in (2, 0)],
    )


def test_a_frozen_part_keeps_its_statistics():
    model = sr4ir(task_config('resnet18', frozen=['bn1', 'layer1']))
    before = snapshot(model.task)
    train_step(model, classification_data())
    assert {name.split('.')[0] for name in changed(before, model.task)} == {
        'conv1',
        'layer2',
        'layer3',
        'layer4',
        'fc',
    }


@pytest.mark.parametrize(
    'arch, sample',
    [
        (FASTER, DetDataSample),
        (LRASPP, SegDataSample),
        ('mobilenet_v3_small', DataSample),
    ],
)
def test_the_state_dict_is_torchvisions(arch, sample, faster, tmp_path):
    plain = faster if arch == FASTER else plain_network(arch)
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    model = sr4ir(
        task_config(
            arch,
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'plain.pth')),
        )
    )
    assert sample_class(model.task) is sample
    model.init_weights()
    assert list(model.task.state_dict()) == list(plain.state_dict())
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[f'task.{name}'], value), name
    assert not any(model.load_state_dict(model.state_dict()))


@pytest.mark.parametrize('arch', [FASTER, LRASPP, 'mobilenet_v3_large'])
def test_the_backbone_starts_from_a_classifier(arch, tmp_path):
    theirs = mobilenet_v3_large(num_classes=7).state_dict()
    torch.save(theirs, tmp_path / 'a.pth')
    model = sr4ir(
        task_config(
            arch,
            weights_backbone=str(tmp_path / 'a.pth'),
            frozen_batch_norm=arch == FASTER,
        )
    ).float()
    start, task = snapshot(model.task), model.task
    model.init_weights()
    parent = {FASTER: 'backbone.body.', LRASPP: 'backbone.'}.get(arch, 'features.')
    wanted = {
        name.replace('features.', parent): value
        for name, value in theirs.items()
        if ('classifier' not in name or arch not in OWN and '.0.' in name)
        and (arch != FASTER or 'tracked' not in name)
    }
    for name, value in wanted.items():
        assert torch.equal(task.state_dict()[name], value), name
    assert changed(start, task) <= set(wanted)  # no heads, no layer for other classes


def test_what_the_backbone_cannot_start_from(tmp_path):
    for arch, file in (
        (LRASPP, 'mobilenet_v3_small'),
        ('resnet18', 'resnet34'),
        ('shufflenet_v2_x1_0', 'shufflenet_v2_x0_5'),
    ):
        torch.save(get_model(file, weights=None).state_dict(), tmp_path / 'a.pth')
        task = MODELS.build(task_config(arch, weights_backbone=str(tmp_path / 'a.pth')))
        with pytest.raises(WeightsError, match='weights_backbone .* another network'):
            task.init_weights()
    task.weights_backbone = 'checkpoints/none.pth'
    with pytest.raises(WeightsError, match='none.pth does not exist'):
        task.init_weights()


def test_a_segmentor_computes_what_torchvision_does():
    plain = plain_network(DEEPLAB, aux_loss=True)
    size, file, samples = (32, 44), (40, 60), []
    for i in range(2):
        samples.append(SegDataSample(metainfo=dict(img_shape=size, ori_shape=file)))
        maps = torch.arange(size[0] * size[1]).reshape(1, *size) // 7 % CLASSES
        maps[:, i : i + 9] = 255
        samples[i].gt_sem_seg = PixelData(data=maps)
    data = dict(inputs=images([size] * 2), data_samples=samples)
    inputs = normalised(data['inputs'])
    # Else one class is the most likely everywhere.
    plain.classifier[-1].bias.data -= plain(inputs)['out'].mean((0, 2, 3))
    model = sr4ir(task_config(DEEPLAB, aux_loss=True), plain, test_on='hr')
    logits = F.interpolate(plain(inputs)['out'], file, mode='bilinear')
    assert logits.shape[1] == CLASSES and len(logits.argmax(1).unique()) > 1
    for sample, want in zip(model.test_step(copy.deepcopy(data)), logits, strict=True):
        near(sample.seg_logits.data, want)
        assert torch.equal(sample.pred_sem_seg.data[0], want.argmax(0))
    ours, outputs = hr_losses(model.train(), data), plain.train()(inputs)
    maps = torch.cat([sample.gt_sem_seg.data for sample in samples])
    for name, weight in (('out', 1), ('aux', 0.5)):
        scores = outputs[name].log_softmax(1).gather(1, maps[:, None] % 255)[:, 0]
        near(ours[f'loss_{name}'], -weight * scores[maps != 255].mean())
    for sample in samples:
        sample.gt_sem_seg.data[:] = 255
    losses = hr_losses(model, data)  # nothing counts
    assert losses['loss_out'] == losses['loss_aux'] == 0


@pytest.mark.parametrize(
    'arch, options', [('resnet18', {}), ('googlenet', dict(init_weights=False))]
)
def test_a_classifier_computes_what_torchvision_does(arch, options):
    plain = plain_network(arch, **options)
    model = sr4ir(task_config(arch, **options), plain, test_on='hr')
    data, labels = classification_data(), torch.eye(CLASSES).double()[[2, 0]]
    inputs = normalised(data['inputs'])
    for sample, scores in zip(
        model.test_step(copy.deepcopy(data)), plain(inputs).softmax(1), strict=True
    ):
        near(sample.pred_score, scores)
        near(sample.pred_score.sum(), torch.ones(()).double())
        assert sample.pred_label.tolist() == [scores.argmax().item()]
    outputs = plain.train()(inputs)
    outputs = outputs if arch == 'googlenet' else [outputs]
    for mixed in (labels, (labels + 1) / 4):  # the second is as by Mixup
        main, *more = (-(one.log_softmax(1) * mixed).sum(1).mean() for one in outputs)
        ours = hr_losses(model.train(), data)
        near(ours['loss'], main)
        near(model.parse_losses(ours)[0], main + 0.3 * sum(more))
        for sample, score in zip(data['data_samples'], (labels + 1) / 4, strict=True):
            sample.set_gt_score(score)


def test_features_on_the_way(faster):
    image = normalised(images([(64, 64)]))
    task = sr4ir(task_config(FASTER), faster).task
    for layer in ('network.backbone', 'network.backbone.fpn'):
        near(
            list(FeatureTap(task, layer)(image)), list(faster.backbone(image).values())
        )
    with pytest.raises(NotReachedError, match='network.roi_heads'):
        FeatureTap(task, 'network.roi_heads')(image)
    plain = plain_network('resnet18')
    model = sr4ir(
        task_config('resnet18'),
        plain,
        tdp=dict(type='mmsr4ir.TDPLoss', layer='network.layer4'),
    )
    near(plain.fc(model.judges.task_tap(image)[0].mean((2, 3))), plain(image))


def test_lr_images_are_restored_first(faster):
    model = sr4ir(
        task_config(FASTER),
        faster,
        recipe=RECIPES['H->T'],
        sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=2, mode='nearest'),
    )
    model.lr_input = LRInput()
    wanted = faster(
        [
            image.repeat_interleave(2, 1).repeat_interleave(2, 2)  # as S does
            for image in as_torchvision(images())
        ]
    )
    for sample, want in zip(model.test_step(detection_data()[0]), wanted, strict=True):
        near(sample.pred_instances.bboxes, want['boxes'] / 2, 1e-3)
        near(sample.pred_instances.scores, want['scores'])


def test_flips_in_test_time_augmentation(faster):
    init_default_scope('mmdet')
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=toy_config(
                task=task_config(FASTER), test_on='hr', tdp=None, recipe=RECIPES['S+T']
            ),
            test_dataloader=dict(dataset=dict(pipeline=[dict(type='PackDetInputs')])),
        )
    )
    use_tta(cfg)
    model = MODELS.build(cfg.model).double().eval()
    model.module.task.load_state_dict(faster.state_dict())
    image, (_, width) = images()[0], SIZES[0]
    packed = Compose(cfg.test_dataloader.dataset.pipeline)(
        dict(img=image.permute(1, 2, 0).numpy(), img_shape=SIZES[0], ori_shape=SIZES[0])
    )
    (found,) = model.test_step({key: [[a], [b]] for key, (a, b) in packed.items()})
    first, second = faster(as_torchvision([image, image.flip(2)]))
    x, y, right, bottom = second['boxes'].unbind(1)
    second['boxes'] = torch.stack([width - right, y, width - x, bottom], 1)
    both = [torch.cat([first[key], second[key]]) for key in first]
    keep = batched_nms(both[0], both[2], both[1], 0.5)
    found = found.pred_instances
    near(
        [found.bboxes, found.labels + 1, found.scores],
        [one[keep] for one in both],
        1e-3,
    )
    assert min(keep) < len(first['boxes']) <= max(keep)


@pytest.mark.parametrize('arch', ['resnet18', LRASPP, FASTER])
def test_flops(arch):
    model = sr4ir(task_config(arch)).float()
    sample = sample_class(model.task)(metainfo=dict(img_shape=SIZES[0]))
    seen = []
    for module in model.task.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda module, inputs, output: seen.append(
                    2 * output.numel() * module.weight[0].numel()
                )
            )
    counts = count_networks(model, torch.zeros(1, 3, *SIZES[0]), [sample])
    assert counts['task']['flops'] == sum(seen)


@pytest.mark.parametrize(
    'arch, changes, message',
    [
        (FASTER, {}, 'task_resize=.* resizes by itself'),
        ('resnet_18', {}, "arch 'resnet_18'.* one of resnet18, "),
        ('resnet18', dict(type='mmsr4ir.TorchvisionDetector'), 'detection has no such'),
        ('resnet18', dict(frozen=['layer9']), "frozen 'layer9'.*no such part"),
        ('resnet18', dict(depth=1), "torchvision's resnet18: .*'depth'"),
        (LRASPP, dict(min_size=9), 'aux_loss, but not min_size'),
        (FASTER, dict(trainable_backbone_layers=3), 'has no effect here'),
        (SSD, dict(weights_backbone='a.pth'), 'other names than any classifier'),
        (
            'keypointrcnn_resnet50_fpn',
            dict(type='mmsr4ir.TorchvisionDetector'),
            'no key',
        ),
    ],
)
def test_what_cannot_be(arch, changes, message):
    with pytest.raises(ValueError, match=message):
        sr4ir(
            task_config(arch, **changes),
            task_resize=dict(type='mmcv.Resize', scale=(64, 48)),
        )
