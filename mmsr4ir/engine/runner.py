"""MMEngine's Runner for configs whose pipelines give their resize to the model."""
import copy
import logging
import re
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmsr4ir.config_values import as_list, type_name
from mmsr4ir.datasets.check import datasets_of
from mmsr4ir.registry import RUNNERS

_RESIZES = frozenset((
    'FixScaleResize', 'FixShapeResize', 'RandomChoiceResize', 'RandomResize', 'Resize',
    'ResizeEdge', 'ResizeShortestEdge', 'ResizeToMultiple'))
# What works on the size that a resize before it gave: it belongs to the augmentation.
_NEEDS_SIZE = re.compile(
    'Affine|Choice|CopyPaste|Crop|Expand|MixUp|Mixup|Mosaic|Perspective|Resize|'
    'TestTimeAug')


@RUNNERS.register_module()
class SR4IRRunner(Runner):
    """MMEngine's Runner; ``model.task_resize='pipeline'`` works in its configs.

    OpenMMLab's tools build it where a config has
    ``runner_type = 'mmsr4ir.SR4IRRunner'``.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:
        """Build it from a whole config; see :func:`move_resize`."""
        return super().from_cfg(move_resize(cfg))


def move_resize(cfg: Config) -> Config:
    """Move the resize of a config's pipelines into its model.

    With ``model.task_resize='pipeline'`` the last transform that resizes, and a ``Pad``
    after it, leave the pipelines, and become ``model.task_resize`` (of the training,
    and of validation and test). A resize stays where a crop, a mosaic or the like comes
    after it. Where data sets resize differently, and in ``tta_pipeline``, each resize
    becomes :class:`~mmsr4ir.datasets.task_size.NoteTaskSize`.

    Args:
        cfg: The whole config; it is changed. One without the setting stays as it is.

    Returns:
        Config: The same.
    """
    model = cfg.get('model') or {}
    if model.get('task_resize') != 'pipeline':
        return cfg
    moved = {}
    for kind, splits in (('train', ('train', )), ('test', ('val', 'test'))):
        parts = [(dataset, *split_pipeline(dataset['pipeline'], split))
                 for dataset, split in _pipelines(cfg, splits)]
        moved[kind] = next((rule for _, rule, _ in parts if rule), [])
        for dataset, rule, rest in parts:
            *before, last = rest
            if type_name(last).startswith('Pack') and (rule or []) != moved[kind]:
                rest = [*before, dict(type='mmsr4ir.NoteTaskSize', resize=rule or []),
                        dict(type='mmsr4ir.PackTaskSize', pack=last)]
            dataset['pipeline'] = rest
    model.task_resize = moved
    for transform in cfg.get('tta_pipeline') or ():
        if type_name(transform) == 'TestTimeAug':
            transform.transforms = _noted(transform.transforms)
    return cfg


def _pipelines(cfg: Mapping, splits: tuple[str, ...]) -> Iterator[tuple[dict, str]]:
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset, _ in datasets_of(loader.get('dataset')):
            if dataset.get('pipeline'):
                yield dataset, split


def split_pipeline(pipeline: list[dict], split: str
                   ) -> tuple[list[dict] | None, list[dict]]:
    """Part a pipeline from the resize at its end.

    Args:
        pipeline: Configs of transforms.
        split: Whose it is, for the log.

    Returns:
        tuple: The transforms that resize, and pad after that, or None where no
        transform resizes or it has to stay; and the rest.
    """
    names = [type_name(transform) for transform in pipeline]
    last = max((i for i, name in enumerate(names) if name in _RESIZES), default=None)
    if last is None:
        return None, pipeline
    after = [name for name in names[last + 1:] if _NEEDS_SIZE.search(name)]
    if after:
        print_log(
            f'the {names[last]} of {split}_dataloader stays before the SR network, '
            f'since {after[0]} comes after it', 'current', logging.INFO)
        return None, pipeline
    moves = {last, *(i for i in range(last, len(names)) if names[i] == 'Pad')}
    return ([copy.deepcopy(pipeline[i]) for i in sorted(moves)],
            [one for i, one in enumerate(pipeline) if i not in moves])


def _noted(stages: list[list[dict]]) -> list[list[dict]]:
    """The stages of test-time augmentation, which resize and pad nothing any more."""
    pads = [one for stage in stages for one in stage if type_name(one) == 'Pad']
    noted = []
    if not any(type_name(one) in _RESIZES for stage in stages for one in stage):
        return stages
    for stage in stages:
        if any(type_name(one) in _RESIZES for one in stage):
            stage = [dict(type='mmsr4ir.NoteTaskSize', resize=[one, *pads])
                     for one in stage]
        noted.append([
            dict(type='mmsr4ir.PackTaskSize', pack=one)
            if type_name(one).startswith('Pack') else one
            for one in stage if type_name(one) != 'Pad'])
    return [stage for stage in noted if stage]


def return_resize(cfg: Mapping) -> dict:
    """Undo :func:`move_resize` in a config's validation and test.

    For the task network alone, without the model that resizes.

    Args:
        cfg: The whole config, read as data; it is left as it is.
    """
    cfg = copy.deepcopy(dict(cfg))
    rule = cfg['model'].get('task_resize') or {}
    rule = as_list(rule.get('test') if 'type' not in rule else rule)
    for dataset, _ in _pipelines(cfg, ('val', 'test')):
        pipeline, own = dataset['pipeline'], rule
        if type_name(pipeline[-1]) == 'PackTaskSize':
            *pipeline, note, pack = pipeline
            pipeline, own = [*pipeline, pack['pack']], note['resize']
        # After the image, before labels: they stay in the pixels of the file.
        place = max((i + 1 for i, one in enumerate(pipeline)
                     if type_name(one).startswith('LoadImage')), default=0)
        dataset['pipeline'] = [*pipeline[:place], *own, *pipeline[place:]]
    for transform in cfg.get('tta_pipeline') or ():
        if type_name(transform) == 'TestTimeAug':
            transform['transforms'] = _given_back(transform['transforms'])
    return cfg


def _given_back(stages: list[list[dict]]) -> list[list[dict]]:
    """Undo :func:`_noted`."""
    found, pads = [], []
    for stage in stages:
        if any(type_name(one) == 'NoteTaskSize' for one in stage):
            pads = stage[0]['resize'][1:]
            stage = [one['resize'][0] for one in stage]
        if any(type_name(one) == 'PackTaskSize' for one in stage):
            found += [[pad] for pad in pads]
            stage = [one['pack'] for one in stage]
        found.append(stage)
    return found
