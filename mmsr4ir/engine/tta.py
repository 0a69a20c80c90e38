"""Test-time augmentation: predictions on an image and its mirror image, merged."""

import copy
from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from mmsr4ir.datasets.move_resize import noted_tta
from mmsr4ir.models.task_resize import RESIZES, TASK_SIZE
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import ConfigError

# What merges the predictions where a config has no `tta_model`, as in the libraries'
# own test.py.
_MODELS: dict[str, dict] = dict(
    mmdet=dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
    mmseg=dict(type='SegTTAModel'),
    mmpretrain=dict(type='AverageClsScoreTTA'),
)
_DETECTION_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
)


@MODELS.register_module()
class MergedVersions(BaseTTAModel):
    """Merge predictions as a library does, and keep the pictures of the image itself.

    The libraries give the merged predictions to the first or to the last version,
    which may be a mirrored one. ``images``, labels and meta information are those of
    the first version that is not mirrored, as in a test of single predictions.

    Args:
        merger: Config of the library's own class, without its ``module``.
        module: The model that predicts.
        data_preprocessor: The task's preprocessor, if ``module`` does not hold it.

    Raises:
        ConfigError: If the library's class cannot merge such predictions.
    """

    def __init__(
        self,
        merger: dict,
        module: dict | nn.Module,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        # In a tuple, torch does not register the model in it a second time.
        self._merger = (MMENGINE_MODELS.build(dict(merger, module=self.module)),)

    def merge_preds(
        self, data_samples_list: Sequence[Sequence[BaseDataElement]]
    ) -> list[BaseDataElement]:
        """Merge the predictions on all versions, listed for each image."""
        merger = self._merger[0]
        # Read them first: the libraries change one of the versions in place.
        sources = [_shown(versions) for versions in data_samples_list]
        try:
            merged = merger.merge_preds(data_samples_list)
        except AssertionError as error:
            raise ConfigError(
                f'--tta: {type(merger).__name__} cannot merge these predictions: '
                f'{error}'
            ) from error
        for sample, (meta, data) in zip(merged, sources, strict=True):
            sample.set_metainfo(meta)
            sample.set_data(data)
            if TASK_SIZE in sample:  # no value for a file of predictions
                delattr(sample, TASK_SIZE)
        return merged


def _shown(versions: Sequence[BaseDataElement]) -> tuple[dict, dict]:
    """Return meta information, and pictures and labels, of the image itself."""
    plain = (one for one in versions if not one.metainfo.get('flip'))
    version = next(plain, versions[0])
    data = {
        key: value
        for key, value in version.items()
        if key in ('images', 'ignored_instances') or key.startswith('gt_')
    }
    return version.metainfo, data


def keep_images(cfg: Config) -> None:
    """Put :class:`MergedVersions` around a library's model of test-time augmentation.

    Args:
        cfg: The whole config; it is changed if its model is such a one.
    """
    model = cfg.get('model') or {}
    if 'module' not in model or type_name(model) == 'MergedVersions':
        return
    inner = ('module', 'data_preprocessor')
    cfg.model = ConfigDict(
        type='mmsr4ir.MergedVersions',
        merger={key: value for key, value in model.items() if key not in inner},
        **{key: model[key] for key in inner if key in model},
    )


def use_tta(cfg: Config) -> None:
    """Have a test predict on several versions of each image, each of them restored.

    The config's ``tta_model`` and ``tta_pipeline`` are taken; without them, the image
    and its mirror image, merged by the library's own class. The SR network gets each
    version in the size that it has in the test without ``--tta``: what ``tta_pipeline``
    resizes, the model resizes behind the SR network.

    Raises:
        ConfigError: If the library has no such class, or the test is one on LR images.
    """
    library = cfg.get('default_scope')
    if type_name(cfg.get('test_cfg') or {}) == 'LRTestLoop':
        raise ConfigError(
            '--tta is for tests that make their LR images; test_cfg is an LRTestLoop'
        )
    if 'tta_model' not in cfg and library not in _MODELS:
        raise ConfigError(
            f'--tta: give tta_model; {library} has none that is known here'
        )
    given = cfg.get('tta_pipeline')
    datasets = list(_datasets(cfg.test_dataloader.dataset))
    for dataset in datasets:
        dataset.pipeline = (
            _resized_late(given, dataset.pipeline)
            if given
            else _with_mirror_image(dataset.pipeline, library)
        )
    noted = any(
        type_name(one) == 'NoteTaskSize'
        for dataset in datasets
        for one in _flat(dataset.pipeline)
    )
    if noted and not cfg.model.get('task_resize'):
        # Without it, the model would not look at the noted sizes.
        cfg.model.task_resize = dict(train=[], test=[])
        print_log(
            '--tta: what tta_pipeline resizes is resized behind the SR network, which '
            'gets each image as in the test without --tta',
            'current',
        )
    if not given:
        cfg.tta_pipeline = copy.deepcopy(datasets[0].pipeline)
    cfg.model = ConfigDict(
        **(cfg.get('tta_model') or _MODELS[library]), module=cfg.model
    )
    keep_images(cfg)


def _datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Yield the data sets that read images, those inside of others, too."""
    inside = [*(dataset.get('datasets') or ()), dataset.get('dataset')]
    inside = [one for one in inside if one]
    for one in inside:
        yield from _datasets(one)
    if not inside:
        yield dataset


def _with_mirror_image(pipeline: Sequence[Mapping], library: str | None) -> list[dict]:
    """Let a test's pipeline give the image, and then its mirror image."""
    *before, pack = [dict(copy.deepcopy(one)) for one in pipeline]
    if library == 'mmdet':
        inner = pack.get('pack', pack)  # of one that keeps the size of task_resize
        inner['meta_keys'] = tuple(
            dict.fromkeys([*inner.get('meta_keys', ()), *_DETECTION_KEYS])
        )
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    return [*before, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def _resized_late(given: Sequence[dict], test: Sequence[dict]) -> list[dict]:
    """Note the sizes of a ``tta_pipeline``, and resize as the test's pipeline does.

    Args:
        given: The ``tta_pipeline``, in which :func:`move_resize` may have noted sizes.
        test: The pipeline of the test without ``--tta``. What it resizes, it resizes
            before the SR network.

    Returns:
        list[dict]: The pipeline; as given, if its resizes have to stay.
    """
    noted = noted_tta(copy.deepcopy(list(given)))
    if any(type_name(one) in RESIZES for one in _flat(noted)):
        return noted
    # After the image, before labels: they stay in the pixels of the file.
    place = 1 + max(
        (i for i, one in enumerate(noted) if type_name(one).startswith('LoadImage')),
        default=-1,
    )
    own = [copy.deepcopy(one) for one in test if type_name(one) in RESIZES]
    return [*noted[:place], *own, *noted[place:]]


def _flat(pipeline: Sequence[Mapping]) -> Iterator[Mapping]:
    """Yield the transforms of a pipeline, and those inside of ``TestTimeAug``."""
    for one in pipeline:
        if type_name(one) == 'TestTimeAug':
            for stage in one['transforms']:
                yield from stage
        else:
            yield one
