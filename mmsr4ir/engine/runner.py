"""MMEngine's Runner for configs whose pipelines give their resize to the model."""
import copy
import logging
import re
from collections.abc import Iterator

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmsr4ir.config_values import type_name
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
        move_resize(cfg)
        return super().from_cfg(cfg)


def move_resize(cfg: Config) -> None:
    """Move the resize of a config's pipelines into its model.

    With ``model.task_resize='pipeline'`` the last transform that resizes, and a ``Pad``
    after it, leave the pipelines, and become ``model.task_resize`` (of the training,
    and of validation and test). A resize stays where a crop, a mosaic or the like comes
    after it. In ``tta_pipeline`` each resize becomes
    :class:`~mmsr4ir.datasets.task_size.NoteTaskSize`.

    Args:
        cfg: The whole config; it is changed. One without the setting stays as it is.

    Raises:
        ValueError: Data sets of one kind have different ones.
    """
    model = cfg.get('model') or {}
    if model.get('task_resize') != 'pipeline':
        return
    moved = {}
    for kind, splits in (('train', ('train', )), ('test', ('val', 'test'))):
        rules = []
        for dataset, split in _pipelines(cfg, splits):
            rule, dataset.pipeline = split_pipeline(dataset.pipeline, split)
            if rule is not None and rule not in rules:
                rules.append(rule)
        if len(rules) > 1:
            raise ValueError(
                f"model.task_resize='pipeline': the pipelines of {' and '.join(splits)}"
                f' resize differently ({rules[0]} and {rules[1]}): let them do the '
                'same, or take it out and set model.task_resize=dict(train=..., '
                'test=...)')
        moved[kind] = rules[0] if rules else []
    model.task_resize = moved
    for transform in cfg.get('tta_pipeline') or ():
        if type_name(transform) == 'TestTimeAug':
            transform.transforms = _noted(transform.transforms)


def _pipelines(cfg: Config, splits: tuple[str, ...]
               ) -> Iterator[tuple[ConfigDict, str]]:
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
