"""What task networks and their pipelines do that the toys do not."""

import copy

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from mmsr4ir.compat.mmdet_parts import complete_heads
from mmsr4ir.engine import zoo_checks
from mmsr4ir.engine.build import build_model
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.models.features import FeatureTap
from mmsr4ir.models.image_space import check_range
from mmsr4ir.models.losses import TDPLoss
from mmsr4ir.models.networks import set_num_classes
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError
from toys import ToyTask, toy_config, toy_data


def build(**changes):
    return MODELS.build(ConfigDict(toy_config(**changes))).train()


def optimizers(model):
    return OptimWrapperDict(
        **{
            name: OptimWrapper(
                torch.optim.SGD(getattr(model, name).parameters(), lr=0.1)
            )
            for name in ('sr', 'task')
        }
    )


def test_a_stale_size_is_not_taken_for_padding():
    data = toy_data(sizes=((16, 16), (16, 16)))
    for sample in data['data_samples']:  # as torchvision's Resize leaves it
        sample.set_metainfo(dict(img_shape=(8, 8)))
    model = build()
    losses = model.train_step(data, optimizers(model))
    fresh = build()
    fresh.load_state_dict(model.state_dict())
    (first, _) = fresh.eval().test_step(data)
    assert first.img_shape == (16, 16)
    assert {image.shape for image in first.images.values()} == {(3, 16, 16), (3, 8, 8)}
    torch.manual_seed(0)
    model = build()
    wanted = model.state_dict()
    results = []
    for size in ((8, 8), (16, 16)):
        model = build()
        model.load_state_dict(wanted)
        data = toy_data(sizes=((16, 16), (16, 16)))
        for sample in data['data_samples']:
            sample.set_metainfo(dict(img_shape=size))
        torch.manual_seed(1)
        results.append(model.train_step(data, optimizers(model)))
    assert losses.keys() == results[0].keys()
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_hooks_of_the_libraries_find_the_task_network_in_the_model():
    model = build()
    model.head.use_l1 = True  # as mmdet's YOLOXModeSwitchHook does
    assert model.task.head.use_l1
    assert not hasattr(model, 'loss')  # no method but those of hooks
    assert model.sr is model._modules['sr']
    with pytest.raises(AttributeError, match="'SR4IR' object has no attribute 'bbox'"):
        model.bbox  # noqa: B018
    twin = copy.deepcopy(model)
    assert twin.head is twin.task.head and twin.head is not model.head


@MODELS.register_module()
class TaskThatRewritesItsLabels(ToyTask):
    """As RTMDet-Ins, which makes tensors of the masks that it is given."""

    def train(self, mode=True):
        super().train(mode)
        self.backbone.norm.eval()  # so that it takes several images in one batch
        return self

    def loss(self, inputs, data_samples):
        for sample in data_samples:
            sample.boxes.masks = sample.boxes.masks.tolist()  # no list has it
        return super().loss(inputs, data_samples)


@pytest.mark.parametrize(
    'losses', [dict(task_sr=1.0, task_hr=1.0, task_mix=1.0), {'task_sr+hr': 1.0}]
)
def test_each_loss_gets_labels_that_no_other_has_changed(losses):
    model = build(
        task=dict(type='mmsr4ir.TaskThatRewritesItsLabels'),
        recipe=dict(task=dict(update='task', losses=losses)),
    )
    data = toy_data()
    for sample in data['data_samples']:
        sample.boxes = BaseDataElement(masks=torch.zeros(2, 4, 4))
    logs = model.train_step(data, optimizers(model))
    assert sum('loss_cls' in key for key in logs) == len(losses)
    assert data['data_samples'][0].boxes.masks.shape == (2, 4, 4)


def test_a_level_that_is_no_tensor_in_eval_mode_is_refused():
    outputs = (None, torch.ones(1, 2, 4, 4))
    TDPLoss('backbone', levels=(-1,)).check_levels(outputs)
    loss = TDPLoss('backbone', levels=(-1,))(outputs, (None, torch.zeros(1, 2, 4, 4)))
    assert loss == 1
    with pytest.raises(ValueError, match='levels 0: this output .* NoneType in eval'):
        TDPLoss('backbone', levels=(0, 1)).check_levels(outputs)


@MODELS.register_module()
class TaskMadeForOneSize(ToyTask):
    """As the transformers of one size, which know it."""

    img_size = (72, 96)

    def extract_feat(self, inputs):
        assert tuple(inputs.shape[-2:]) == self.img_size
        return super().extract_feat(inputs)


def test_the_size_that_a_network_is_made_for_is_tried():
    build(task=dict(type='mmsr4ir.TaskMadeForOneSize'))


@pytest.mark.parametrize(
    'config, keys',
    [
        (
            'mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
            dict(decode_head='num_classes'),
        ),
        (
            'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
            dict.fromkeys(
                ('panoptic_head', 'panoptic_fusion_head'), 'num_things_classes'
            ),
        ),
    ],
)
def test_num_classes_of_mask_transformers(config, keys):
    task = set_num_classes(get_config(config).model.to_dict(), 5)
    assert [task[part][key] for part, key in keys.items()] == [5] * len(keys)
    assert task[next(iter(keys))]['loss_cls']['class_weight'] == [1.0] * 5 + [0.1]


class Plain(BaseModel):
    def forward(self, *args):
        raise NotImplementedError


@pytest.mark.parametrize(
    'neck, outputs, layer, levels',
    [
        ('FPN', 5, 'neck', (0, 1)),
        ('ChannelMapper', 1, 'neck', (0,)),
        (None, 4, 'backbone', (-1,)),
    ],
)
def test_the_default_layer_of_the_tdp_loss_fits_the_network(
    neck, outputs, layer, levels
):
    """Faster R-CNN has an FPN, DETR one level, CornerNet and Mask2Former no neck."""
    tdp = TDPLoss(layer=('neck', 'backbone'))
    parts = dict(backbone=nn.Identity()) | (dict(neck=nn.Identity()) if neck else {})
    task = Plain()
    for name, part in parts.items():
        task.add_module(name, part)
    task.extract_feat = lambda x: task.get_submodule(layer)((x,) * outputs)
    tdp.check_levels(tdp.tap(task)(torch.rand(1, 3, 4, 4)))
    assert (tdp.layer, tdp.levels) == (layer, levels)
    assert tdp.weights == (1 / len(levels),) * len(levels)


def test_features_in_nested_lists_are_levels_of_their_own():
    """Conformer's stages are [of convolutions, of tokens]; SAN's CLIP has a list."""
    x = torch.rand(1, 3, 4, 4)
    task = Plain()
    task.backbone = nn.Module()
    task.backbone.forward = lambda x: ([x, 2 * x], dict(last=[3 * x, (4 * x,)]))
    task.extract_feat = task.backbone
    levels = FeatureTap(task, 'backbone')(x)
    assert [(level / x).mean().round().item() for level in levels] == [1, 2, 3, 4]
    loss = TDPLoss('backbone')
    torch.testing.assert_close(loss(levels, [0 * x] * 4), 4 * x.mean())


@pytest.mark.parametrize(
    'cfg, package, command',
    [
        (dict(model=dict(task=dict(head=dict(type='mmdet.PAAHead')))), 'sklearn', 'sc'),
        (
            dict(val_evaluator=[dict(type='A'), dict(type='CocoPanopticMetric')]),
            'panopticapi',
            'git',
        ),
        (
            dict(train_dataloader=dict(type='mmpretrain.Albumentations')),
            'albumentations',
            'scikit',
        ),
    ],
)
def test_missing_packages_are_named_before_anything_is_built(
    cfg, package, command, monkeypatch
):
    monkeypatch.setattr(zoo_checks, 'find_spec', lambda name: name != package)
    message = rf'needs the package {package}, which is not .*run: pip install {command}'
    for build in (SR4IRRunner.from_cfg, build_model):
        with pytest.raises(ConfigError, match=message):
            build(Config(cfg))
    monkeypatch.setattr(zoo_checks, 'find_spec', bool)
    zoo_checks.check_zoo(Config(cfg))


def test_a_network_of_several_branches_is_refused_with_what_is_supported():
    name = 'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
    cfg = get_config(f'mmdet::soft_teacher/{name}')
    cfg.model = toy_config(task=cfg.model)
    message = r"SoftTeacher is trained on branches .* supported .*set .* its 'detector'"
    with pytest.raises(ConfigError, match=message):
        build_model(cfg)


@pytest.mark.parametrize(
    'config',
    ['mmdet::htc/htc_r50_fpn_1x_coco.py', 'mmdet::scnet/scnet_r50_fpn_1x_coco.py'],
)
def test_the_semantic_head_keeps_the_classes_of_the_stuff_maps(config):
    head = set_num_classes(get_config(config).model.to_dict(), 5)['roi_head']
    assert head['semantic_head']['num_classes'] == 183
    assert {part['num_classes'] for part in head['bbox_head']} == {5}


def test_a_head_without_a_loss_module_can_predict():
    """mmdet 3.3.0 asks SSDHead for one in a prediction."""
    from mmdet.models import SSDHead

    torch.manual_seed(0)
    anchors = dict(strides=[8], ratios=[[2]], min_sizes=[8], max_sizes=[16])
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = SSDHead(
            num_classes=2,
            in_channels=(4,),
            anchor_generator=dict(
                type='SSDAnchorGenerator', scale_major=False, **anchors
            ),
            test_cfg=ConfigDict(
                nms=dict(type='nms', iou_threshold=0.45), score_thr=0.1, max_per_img=5
            ),
        )
    complete_heads(head)
    meta = dict(img_shape=(32, 32), scale_factor=(1, 1))
    outputs = head((torch.rand(1, 4, 4, 4),))
    (found,) = head.predict_by_feat(*outputs, batch_img_metas=[meta], rescale=False)
    assert len(found) == 5 and found.scores.min() > 0.1
    kept = head.loss_cls = nn.Identity()
    complete_heads(head)
    assert head.loss_cls is kept


def test_num_classes_where_the_config_has_to_say_more():
    panoptic = dict(type='Head', num_things_classes=80, num_stuff_classes=53)
    with pytest.raises(ValueError, match='Head tells things from stuff'):
        set_num_classes(dict(head=panoptic), 5)

    def head(weights):
        return dict(num_classes=3, loss=[dict(class_weight=weights)])

    with pytest.raises(ValueError, match=r'class_weight=\[1.0, 2.0, 1.0\].* of the 5'):
        set_num_classes(head([1.0, 2.0, 1.0]), 5)
    for own in ([1.0, 2.0, 1.0, 3.0, 1.0], [2.0] * 3 + [4.0] * 3, 1.0, None):
        assert set_num_classes(head(own), 5)['loss'][0]['class_weight'] == own


@pytest.mark.parametrize(
    'mean, std, scale',
    [
        ([0.0] * 3, [1.0] * 3, 1 / 255),  # ToTensor, no preprocessor
        ([0.5] * 3, [0.2] * 3, 1 / 255),  # ToTensor, and its mean and std
    ],
)
def test_inputs_that_are_no_8_bit_values_are_refused(mean, std, scale):
    model = build(
        task=dict(
            type='mmsr4ir.ToyTask',
            data_preprocessor=dict(mean=mean, std=std, bgr_to_rgb=True),
        )
    )
    data = toy_data()
    data['inputs'] = [image * scale for image in data['inputs']]
    with pytest.raises(ValueError, match=r'values from .* and not 0 to 255: take'):
        model.train_step(data, optimizers(model))


def test_dark_and_overexposed_images_are_images():
    check_range(torch.zeros(2, 3, 4, 4))
    check_range(torch.full((2, 3, 4, 4), 2 / 255))
    check_range(torch.tensor([-30.4, 300.7]).view(1, 1, 1, 2) / 255)
    check_range(torch.tensor([-60.4, 430.5]).view(1, 1, 1, 2) / 255)


@pytest.mark.parametrize('most', [1023, 65535])
def test_images_of_more_than_8_bits_are_refused(most):
    images = torch.tensor([0.0, most]).view(1, 1, 1, 2) / 255
    with pytest.raises(
        ConfigError, match=rf"from 0 to {most} and .*color_type='color'"
    ):
        check_range(images)
