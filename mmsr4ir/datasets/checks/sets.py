"""The data sets of a config, and what the config asks of each."""

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, DefaultScope

from mmsr4ir.utils.configs import as_list, registered_class, type_name
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.loading import Loading, loading_of

from .problem import Report

#: Splits of a config.
SPLITS = ('train', 'val', 'test')
#: What the data sets of the three libraries raise when their files are not as expected.
NOT_READ = (
    AssertionError,
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    SyntaxError,
    ImportError,
)
# Metrics that look at images or write predictions, but compare with no label.
_LABEL_FREE = ('SRQuality', 'DumpPredictions', 'DumpDetResults', 'DumpResults')


@dataclass(frozen=True)
class DataPart:
    """One data set of a config, without wrappers.

    Args:
        name: Such as ``'train'``, or ``'train[1]'`` for the second of several.
        split: ``'train'``, ``'val'`` or ``'test'``.
        dataset: Its config.
        cfg: The whole config.
        same: The name of an earlier one that reads the same data.
    """

    name: str
    split: str
    dataset: Mapping
    cfg: Mapping = field(repr=False)
    same: str | None = None

    @property
    def loader(self) -> str:
        """The name of its dataloader in the config."""
        return f'{self.split}_dataloader'

    @property
    def scope(self) -> str:
        """The scope that its type is looked up in."""
        return (
            self.dataset.get('_scope_') or self.cfg.get('default_scope') or 'mmengine'
        )

    @property
    def kind(self) -> type | None:
        """The class of the data set; None if nothing is registered by that name."""
        return dataset_class(self.dataset, self.scope)

    @property
    def task(self) -> Mapping:
        """The config of the task network; empty if there is none."""
        model = self.cfg.get('model') or {}
        return model.get('task') or model

    @property
    def is_ours(self) -> bool:
        """Whether the model is SR4IR, and not one of a library alone."""
        return type_name(self.cfg.get('model') or {}) == 'SR4IR'

    @property
    def pipeline(self) -> list[Mapping]:
        """The configs of its transforms."""
        return list(self.dataset.get('pipeline') or ())

    @property
    def loading(self) -> Loading:
        """How its pipeline decodes image files."""
        return loading_of(self.pipeline)

    @property
    def folder(self) -> str:
        """Where the file names of a COCO file start from."""
        return os.path.join(
            self.dataset.get('data_root') or '',
            (self.dataset.get('data_prefix') or {}).get('img') or '',
        )

    @property
    def ann_path(self) -> str | None:
        """The annotation file; None if there is none, or none on this machine."""
        path = self.dataset.get('ann_file')
        root = self.dataset.get('data_root') or ''
        if not path or '://' in f'{root}{path}':
            return None
        return os.path.join(root, path)

    @property
    def metrics(self) -> list[Mapping]:
        """The configs of the metrics of its split."""
        return [
            one
            for one in as_list(self.cfg.get(f'{self.split}_evaluator'))
            if isinstance(one, Mapping)
        ]

    @property
    def compared(self) -> bool:
        """Whether a loss or a metric compares with labels."""
        if self.split == 'train':
            return not self.is_ours or _has_task_loss(self.cfg['model'].get('recipe'))
        return not self.metrics or any(
            not one.get('format_only') and type_name(one) not in _LABEL_FREE
            for one in self.metrics
        )

    @property
    def scale(self) -> int:
        """How many times as large as its images the labels are; see LRTestLoop."""
        loop = self.cfg.get('test_cfg') or {}
        if self.split != 'test' or loop.get('coordinates') != 'sr':
            return 1
        return (self.cfg['model'].get('degradation') or {}).get('scale', 4)

    def reads(self, option: str = '') -> bool:
        """Whether the pipeline loads annotations (those that an option asks for)."""
        return any(
            type_name(one).startswith('Load')
            and 'Annotations' in type_name(one)
            and (not option or one.get(option))
            for one in self.pipeline
        )


def _has_task_loss(recipe: Any) -> bool:
    """Whether a recipe, which may be a wrong one, has a loss that needs labels."""
    phases = recipe.values() if isinstance(recipe, Mapping) else ()
    losses = [one.get('losses') for one in phases if isinstance(one, Mapping)]
    return not losses or any(
        name.startswith('task_') for names in losses for name in names or ()
    )


def parts(cfg: Mapping, splits: Sequence[str] = SPLITS) -> Iterator[DataPart]:
    """Yield the data sets of some splits."""
    seen: list[tuple] = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        leaves = [one for one, leaf in datasets_of(loader.get('dataset')) if leaf]
        for i, dataset in enumerate(leaves):
            bare = {
                key: value
                for key, value in dataset.items()
                if key not in ('pipeline', 'test_mode', 'filter_cfg')
            }
            name = split + (f'[{i}]' if len(leaves) > 1 else '')
            part = DataPart(name, split, dataset, cfg)
            asked = bare, part.scale, part.compared
            same = next((other for other, one in seen if one == asked), None)
            seen.append((name, asked))
            yield replace(part, same=same)


def datasets_of(dataset: Any) -> Iterator[tuple[Mapping, bool]]:
    """Yield a data set and those that it wraps, and whether each wraps none."""
    if not isinstance(dataset, Mapping):
        return
    inner = dataset.get('datasets') or (
        [dataset['dataset']] if 'dataset' in dataset else []
    )
    yield dataset, not inner
    for child in inner:
        yield from datasets_of(child)


def dataset_class(dataset: Mapping, scope: str) -> type | None:
    """Return the class of a data set's config; ``scope`` is the default one."""
    return registered_class(DATASETS, dataset, scope)


def build_unread(part: DataPart) -> Any:
    """Build a data set that has no pipeline and has not read its annotations.

    Raises:
        DataError: If the data set is no one of MMEngine, or cannot be built.
    """
    if part.kind is None or not issubclass(part.kind, BaseDataset):
        raise DataError(
            f'{type_name(part.dataset)} of {part.loader} is no data set of '
            'MMEngine, so that its samples cannot be listed'
        )
    options = {
        key: value
        for key, value in part.dataset.items()
        if key not in ('pipeline', '_scope_')
    }
    if 'download' in inspect.signature(part.kind).parameters:
        options['download'] = False
    try:
        with DefaultScope.overwrite_default_scope(part.scope):
            return DATASETS.build(
                dict(options, type=part.kind, pipeline=[], lazy_init=True)
            )
    except NOT_READ as error:
        raise _not_read(part, error) from error


def samples_of(built: Any, part: DataPart) -> list[dict]:
    """Return all samples of a data set from :func:`build_unread`, none filtered out.

    Raises:
        DataError: If the data set has no samples, or its samples cannot be read.
    """
    try:
        samples = built.load_data_list()
    except NOT_READ as error:
        raise _not_read(part, error) from error
    if not samples:
        raise DataError(
            f'{part.loader} lists no image: set data_root, data_prefix and ann_file'
        )
    return samples


def _not_read(part: DataPart, error: Exception) -> DataError:
    path = part.ann_path
    # Several data sets of mmseg assert that the file is there, without a message.
    reason = (
        f'{path} does not exist'
        if path and not os.path.exists(path)
        else f'{type(error).__name__}: {error}'
    )
    return DataError(
        f'the data set of {part.loader} cannot be read ({reason}): set data_root, '
        'data_prefix and ann_file in the config'
    )


def class_names(report: Report, part: DataPart) -> list[str] | None:
    """Return the classes that a config names, or its data set's class has.

    A text is an error, if it is not the path of a list: MMEngine would take its letters
    for classes.
    """
    classes = (part.dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        classes = getattr(part.kind, 'METAINFO', {}).get('classes')
    if isinstance(classes, str):
        if os.path.isfile(classes):
            return list_from_file(classes)
        report.error(
            part.loader,
            f'has classes={classes!r}, a text, whose letters would be the classes',
            f'write metainfo=dict(classes=({classes!r}, )), with the comma',
        )
        return None
    return None if classes is None else list(classes)


def check_counts(report: Report, part: DataPart, source: str) -> None:
    """Check that the heads of the task network have as many classes as the data.

    Args:
        report: Is filled; it has the classes.
        part: The data set.
        source: What has the classes, for the message.
    """
    count = len(report.classes or ())
    things = len(
        (part.dataset.get('metainfo') or {}).get('thing_classes')
        or getattr(part.kind, 'METAINFO', {}).get('thing_classes')
        or ()
    )
    if count == 1 and part.split == 'train' and part.compared:
        _check_choice(report, part)
    for where, found in class_counts(part.task, 'model.task'):
        if found not in (count, things or count):
            report.error(
                '',
                f'{where}={found}, but {source} has {count} classes',
                f'set model.num_classes={count}',
            )
    for name in ('decode_head', 'auxiliary_head'):
        for head in as_list(part.task.get(name)):
            for loss in as_list(head.get('loss_decode')):
                weights = loss.get('class_weight')
                if isinstance(weights, list | tuple) and len(weights) != head.get(
                    'num_classes', len(weights)
                ):
                    report.error(
                        '',
                        f'model.task.{name}.loss_decode.class_weight has '
                        f'{len(weights)} weights for {head["num_classes"]} classes',
                        'give as many, or None',
                    )


def _check_choice(report: Report, part: DataPart) -> None:
    """Check that no loss is about the choice of one class out of one.

    A softmax over one class is 1 whatever the network says: its loss is 0 and the
    accuracy 100. A sigmoid, as of heads with ``out_channels=1``, learns.
    """
    softmax = [
        name
        for name, key in (('head', 'loss'), ('decode_head', 'loss_decode'))
        for head in as_list(part.task.get(name))
        if isinstance(head, Mapping)
        and head.get('out_channels') != 1
        and all(map(_is_softmax, as_list(head.get(key, _default_loss(head)))))
    ]
    if type_name(part.task) in ('TorchvisionClassifier', 'TorchvisionSegmentor'):
        softmax.append('arch')
    for name in softmax:
        report.error(
            part.loader,
            f'has the one class {(report.classes or [""])[0]!r}, and the loss of '
            f'model.task.{name} chooses one of the classes: there is nothing to learn',
            "give data and config a second class, such as 'background'",
        )


def _is_softmax(loss: Mapping) -> bool:
    return type_name(loss).endswith(
        ('CrossEntropy', 'CrossEntropyLoss')
    ) and not loss.get('use_sigmoid')


def _default_loss(head: Mapping) -> dict:
    """Return the loss of a head that names none: a softmax but for several labels."""
    return dict(
        type='CrossEntropyLoss', use_sigmoid=type_name(head).startswith('MultiLabel')
    )


def class_counts(node: Any, where: str) -> Iterator[tuple[str, int]]:
    """Yield every ``num_classes`` of heads that are about the classes of the data.

    Some parts are left out. Proposal networks have no classes of the data. Auxiliary
    and semantic heads may have other classes (STDC's head has boundaries, HTC's the
    classes of stuff maps). A preprocessor needs the count only for mixed labels.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == 'num_classes' and isinstance(value, int):
                yield f'{where}.num_classes', value
            elif 'rpn' not in str(key) and key not in (
                'auxiliary_head',
                'semantic_head',
                'data_preprocessor',
                'backbone',
            ):
                yield from class_counts(value, f'{where}.{key}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from class_counts(value, f'{where}[{i}]')
