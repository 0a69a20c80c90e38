"""Pictures of validations and tests."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import Dataset

from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.engine.hooks.picture_grid_hook import PictureGridHook, choose_images
from mmsr4ir.visualization.panels import Painter
from toys import RECIPES, toy_config

PLAIN = ('hr', 'lr', 'sr', 'error', 'tdp')
TITLE = 23  # the bar and one pixel of the frame


class Images(Dataset):
    """Seven images in two sizes, with files' names."""

    metainfo = dict(classes=('a', 'b', 'c'))

    def __init__(self, names=('a/0', 'a/1', 'b/2', 'b/3', 'b/4', 'c/5', 'c/6')):
        self.names = names

    def __len__(self):
        return len(self.names)

    def get_data_info(self, i):
        return dict(img_path=f'/data/{self.names[i]}.png')

    def image(self, i):  # BGR, as it is loaded
        generator = np.random.default_rng(i)
        return generator.integers(0, 256, (16, 16 + 8 * (i % 2), 3), dtype=np.uint8)

    def __getitem__(self, i):
        image = self.image(i)
        sample = BaseDataElement(
            metainfo=dict(
                img_shape=image.shape[:2],
                ori_shape=image.shape[:2],
                img_path=self.get_data_info(i)['img_path'],
            )
        )
        sample.label = i % 3
        return dict(
            inputs=torch.from_numpy(image).permute(2, 0, 1), data_samples=sample
        )


@METRICS.register_module()
class CountImages(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend([1] * len(data_samples))

    def compute_metrics(self, results):
        return dict(count=len(results))


def runner(work_dir: Path, by_epoch=True, dataset=None, model=None, grid=None, **cfg):
    loader = dict(
        dataset=dataset or Images(),
        num_workers=0,
        batch_size=1,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=pseudo_collate,
    )
    optimizer = dict(optimizer=dict(type='SGD', lr=0.01))
    return Runner(
        **dict(
            model=model or toy_config(),
            work_dir=str(work_dir),
            train_dataloader=loader,
            val_dataloader=loader,
            test_dataloader=loader,
            val_cfg=dict(),
            val_evaluator=dict(type='CountImages'),
            test_cfg=dict(),
            test_evaluator=dict(type='CountImages'),
            train_cfg=dict(by_epoch=True, max_epochs=2)
            if by_epoch
            else dict(by_epoch=False, max_iters=6, val_interval=3),
            optim_wrapper=dict(
                constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
                sr=optimizer,
                task=optimizer,
            ),
            default_hooks=dict(
                picture_grid=dict(
                    type='mmsr4ir.PictureGridHook',
                    **(dict(panels=PLAIN, min_size=16) | (grid or {})),
                ),
                checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch),
            ),
            visualizer=dict(
                type='Visualizer',
                vis_backends=[
                    dict(type='LocalVisBackend'),
                    dict(type='TensorboardVisBackend'),
                ],
            ),
            randomness=dict(seed=0),
            log_level='ERROR',
            experiment_name=f'grid_{work_dir.parent.name}_{work_dir.name}',
        )
        | cfg
    )


def pictures(work_dir: Path) -> dict[str, np.ndarray]:
    files = sorted(work_dir.glob('*/vis_data/vis_image/*.png'))
    return {file.name: cv2.imread(str(file)) for file in files}


def panels(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """Cut a picture into its panels, without titles and frames."""
    assert picture.shape[1] % count == 0
    return [part[TITLE:-1, 1:-1] for part in np.split(picture, count, axis=1)]


@pytest.mark.parametrize('by_epoch, steps', [(True, (1, 2)), (False, (3, 6))])
def test_each_validation_sends_the_same_images_to_all_backends(
    tmp_path, by_epoch, steps
):
    runner(tmp_path, by_epoch, grid=dict(val_images=3)).train()
    drawn = pictures(tmp_path)
    assert list(drawn) == [
        f'val_{name}_{step}.png' for name in (0, 2, 4) for step in steps
    ]
    events = EventAccumulator(
        str(next(tmp_path.glob('*/vis_data'))), size_guidance=dict(images=0)
    ).Reload()
    assert sorted(events.Tags()['images']) == ['val_0', 'val_2', 'val_4']
    for name in (0, 2, 4):
        sent = events.Images(f'val_{name}')
        assert [image.step for image in sent] == list(steps)
        for image in sent:
            picture = cv2.imdecode(
                np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR
            )
            np.testing.assert_array_equal(
                picture, drawn[f'val_{name}_{image.step}.png']
            )
        first, last = (panels(drawn[f'val_{name}_{step}.png'], 5) for step in steps)
        hr, lr = Images().image(name), first[1]
        np.testing.assert_array_equal(first[0], hr)
        # Every LR pixel is a block of 2 x 2 equal ones.
        np.testing.assert_array_equal(lr, lr[::2, ::2].repeat(2, 0).repeat(2, 1))
        assert np.abs(lr.mean((0, 1)) - hr.mean((0, 1))).max() < 12
        assert (first[2] != last[2]).any()  # SR is trained
        assert all(part.shape == hr.shape for part in (*first, *last))


def test_the_error_panel_shows_the_difference_of_the_two_others(tmp_path):
    runner(
        tmp_path, grid=dict(val_images=['c/5'], panels=('hr', 'sr', 'error'))
    ).train()
    for picture in pictures(tmp_path).values():
        hr, sr, error = panels(picture, 3)
        difference = np.abs(hr.astype(float) - sr).mean(-1)
        scaled = (difference / difference.max() * 255).round().astype(np.uint8)
        expected = cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO)
        # One step of the colours: what is exactly between two is rounded either way.
        assert np.abs(expected.astype(int) - error).max() <= 5


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path, monkeypatch):
    draw = Painter.draw

    def fail(painter, sample):
        if sample.img_path.endswith('2.png'):
            raise TypeError('list indices must be integers')
        return draw(painter, sample)

    monkeypatch.setattr(Painter, 'draw', fail)
    images = Images(('a/0', 'a/2', 'a/4'))
    runner(tmp_path, dataset=images, log_level='WARNING').train()
    assert {name[:5] for name in pictures(tmp_path)} == {'val_0', 'val_4'}
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert "no picture of '2', drawing it failed with TypeError: list" in log


def test_off_draws_nothing_and_pictures_do_not_change_the_training(tmp_path):
    for count in (0, 4):
        work = tmp_path / str(count)
        runner(work, grid=dict(val_images=count)).train()
        assert len(pictures(work)) == 2 * count
    off, on = (
        load_from_local(tmp_path / count / 'epoch_2.pth')['state_dict']
        for count in ('0', '4')
    )
    assert set(off) == set(on)
    for key in off:
        torch.testing.assert_close(on[key], off[key], rtol=0, atol=0)
    hook = PictureGridHook(val_images=None)
    assert hook.val_images == 0 and hook.out_dir is None


def test_images_are_enlarged_and_sizes_differ(tmp_path):
    runner(
        tmp_path,
        grid=dict(val_images=['0', '1.png'], min_size=70, panels=('sr', 'lr', 'hr')),
    ).train()
    drawn = pictures(tmp_path)
    assert {name: picture.shape for name, picture in drawn.items()} == {
        f'val_{name}_{step}.png': (64 + TITLE + 1, 3 * (width + 2), 3)
        for name, width in ((0, 64), (1, 96))
        for step in (1, 2)
    }
    hr = panels(drawn['val_1_1.png'], 3)[2]
    np.testing.assert_array_equal(hr, Images().image(1).repeat(4, 0).repeat(4, 1))


def test_a_test_writes_one_file_for_each_image(tmp_path):
    show = tmp_path / 'show'
    names = ('a/0', 'b/0', 'c/deep/1', 'c/2')
    for run in ('one', 'two'):
        runner(
            tmp_path / run,
            dataset=Images(names),
            grid=dict(out_dir=str(show / run), max_images=3, panels=['hr']),
        ).test()
    # Folders are named where two of the drawn files are called the same.
    assert sorted(file.name for file in (show / 'one').iterdir()) == [
        'a_0.png',
        'b_0.png',
        'deep_1.png',
    ]
    for file in (show / 'one').iterdir():
        assert file.read_bytes() == (show / 'two' / file.name).read_bytes()
    (hr,) = panels(cv2.imread(str(show / 'one' / 'b_0.png')), 1)
    np.testing.assert_array_equal(hr, Images().image(1))
    assert not pictures(tmp_path / 'one')


def test_choosing_images():
    names = [f'{i:03d}' for i in range(100)]
    assert choose_images(Images(names), 4) == {
        0: '000',
        25: '025',
        50: '050',
        75: '075',
    }
    assert choose_images(Images(names[:2]), 4) == {0: '000', 1: '001'}
    assert choose_images(Images(('x/7', 'y/7', 'z/8')), ['7.png']) == {
        0: 'x_7',
        1: 'y_7',
    }
    assert choose_images(Images(('x/7', 'y/7', 'z/8')), ['y/7', '8']) == {
        1: '7',
        2: '8',
    }
    assert choose_images(Images(('x/7', 'x/7')), 2) == {0: '7_0', 1: '7_1'}
    assert choose_images([None] * 3, 2) == {0: '000000', 1: '000001'}
    with pytest.raises(ValueError, match=r"no images \['9'\]; its 3 images .* 7.png"):
        choose_images(Images(('x/7', 'y/7', 'z/8')), ['8', '9'])


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(panels=['hr', 'depth']),
            r"\['hr', 'depth'\]: name one or more of .*'tdp'",
        ),
        (dict(panels=[]), 'name one or more of'),
        (dict(val_images=-1), 'val_images=-1: give a number'),
        (
            dict(val_images=[12]),
            r'val_images=\[12\]: give a number of images or a list',
        ),
    ],
)
def test_unknown_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        PictureGridHook(**options)


@pytest.mark.parametrize(
    'grid, model, message',
    [
        (
            dict(),
            dict(tdp=None, recipe=RECIPES['S+T']),
            "'tdp' shows the features .*leave it out.*model.tdp=dict",
        ),
        (dict(panels=['prediction']), {}, 'Visualizer draws no predictions.*Det'),
        (dict(val_images=['nowhere.png']), {}, r"no images \['nowhere.png'\]"),
    ],
)
def test_what_cannot_be_drawn_stops_before_the_training(tmp_path, grid, model, message):
    run = runner(tmp_path, model=toy_config(**model), grid=grid)
    with pytest.raises(ValueError, match=message):
        run.train()
    assert run.iter == 0 and not list(tmp_path.glob('*.pth'))


CONFIG = """
_base_ = ['{root}/configs/sr4ir/faster-rcnn_edsr_tiny.py']
visualizer = dict(vis_backends=[
    dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
default_hooks = dict(picture_grid=dict(
    panels=['hr', 'lr', 'sr', 'prediction', 'truth', 'error', 'tdp']))
"""


@pytest.mark.slow
def test_a_detector_in_two_processes(tmp_path, coco_root, tiny_options, run_tool):
    """Its learning rate, its checkpoint and its pictures.

    Three images: the second process draws one of its own and the first's first.
    """
    config = tmp_path / 'config.py'
    config.write_text(CONFIG.format(root=Path(__file__).parents[2]))
    process = run_tool(
        'bash',
        'tools/dist_train.sh',
        config,
        2,
        '--work-dir',
        tmp_path,
        '--auto-scale-lr',
        *tiny_options(
            coco_root, **{'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
        ),
        env=dict(PORT='29625', PATH=f'{Path(sys.executable).parent}:/usr/bin:/bin'),
    )
    assert 'GPU number: 2' in process.stdout or 'world_size: 2' in process.stdout
    assert (
        'LR is set based on batch size of 16 and the current batch size is 4. '
        'Scaling the original LR by 0.25'
    ) in process.stdout
    names = load_from_local(tmp_path / 'epoch_1.pth')['state_dict']
    assert {n.split('.')[0] for n in names} == {'sr', 'task'}
    assert not any('.module.' in name for name in names)
    drawn = pictures(tmp_path)
    # 64 x 64 four times, 64 x 48 five times as large, in seven panels.
    assert {name: picture.shape for name, picture in drawn.items()} == {
        'val_0_1.png': (280, 7 * 258, 3),
        'val_1_1.png': (344, 7 * 242, 3),
        'val_2_1.png': (280, 7 * 258, 3),
    }
    for name, picture in drawn.items():
        hr, _, _, prediction, truth, _, _ = panels(picture, 7)
        (file,) = (coco_root / 'val').glob(f'{name.split("_")[1]}.*')
        image = cv2.imread(str(file))
        zoom = hr.shape[0] // 64
        # The config enlarges to 128 pixels and the hook shrinks again.
        assert np.corrcoef(hr[::zoom, ::zoom].ravel(), image.ravel())[0, 1] > 0.9
        assert (truth != hr).any(-1).mean() > 0.02  # its boxes
        assert prediction.max() > 0
    events = EventAccumulator(str(next(tmp_path.glob('*/vis_data')))).Reload()
    assert sorted(events.Tags()['images']) == ['val_0', 'val_1', 'val_2']
