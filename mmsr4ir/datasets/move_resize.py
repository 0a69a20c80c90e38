"""Move the resize of a config's pipelines into its model, and back.

The SR network then sees images in their own size, and the task network in the size that
it was made for (:mod:`mmsr4ir.models.task_resize`).
"""

import copy
import logging
import re
from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmsr4ir.models.task_resize import RESIZES
from mmsr4ir.utils.configs import as_list, batch_augments, type_name

# What works on the size that a resize before it gave: it belongs to the augmentation.
_NEEDS_SIZE = re.compile(
    'Affine|CopyPaste|Crop|CutOut|Erasing|Expand|GridMask|MixUp|Mixup|Mosaic|'
    'Perspective|Resize|Shift|TestTimeAug'
)


def move_resize(cfg: Config) -> Config:
    """Move the resize of a config's pipelines into its model.

    With ``model.task_resize='pipeline'`` the last transform that resizes, and a ``Pad``
    after it, leave the pipelines, and become ``model.task_resize`` (of the training,
    and of validation and test). A resize stays where something comes after it that
    works on its size: a crop, a mosaic, augmentations of whole batches. Where data sets
    resize differently, in branches of a ``RandomChoice`` and in ``tta_pipeline``, each
    resize becomes :class:`~mmsr4ir.datasets.task_size.NoteTaskSize`.

    Args:
        cfg: The whole config; it is changed. One without the setting stays as it is.

    Returns:
        Config: The same.
    """
    model: ConfigDict = cfg.get('model') or ConfigDict()
    while 'module' in model:  # of test-time augmentation
        model = model.module
    if model.get('task_resize') != 'pipeline':
        return cfg
    moved = {}
    for kind, splits in (('train', ('train',)), ('test', ('val', 'test'))):
        late = batch_augments(cfg, model) if kind == 'train' else []
        parts = [
            (dataset, *split_pipeline(dataset['pipeline'], where, outer + late))
            for dataset, where, outer in _pipelines(cfg, splits)
        ]
        moved[kind] = next((rule for _, rule, _ in parts if rule), [])
        for dataset, rule, rest in parts:
            *before, last = rest
            if type_name(last).startswith('Pack') and (rule or []) != moved[kind]:
                rest = [
                    *before,
                    dict(type='mmsr4ir.NoteTaskSize', resize=rule or []),
                    dict(type='mmsr4ir.PackTaskSize', pack=last),
                ]
            dataset['pipeline'] = rest
    model.task_resize = moved
    if cfg.get('tta_pipeline'):
        cfg.tta_pipeline = noted_tta(cfg.tta_pipeline)
    return cfg


def _pipelines(
    cfg: Mapping, splits: tuple[str, ...]
) -> Iterator[tuple[dict, str, list[str]]]:
    """Yield each data set that has a pipeline, with its dataloader and what follows.

    What follows are the names of transforms of outer data sets that depend on the
    size of the images of this one.
    """

    def walk(
        dataset: dict, where: str, after: list[str]
    ) -> Iterator[tuple[dict, str, list[str]]]:
        own = dataset.get('pipeline')
        if own:
            yield dataset, where, after
            after = [*filter(None, map(_needs_size, own)), *after]
        for inner in [*(dataset.get('datasets') or ()), dataset.get('dataset')]:
            if isinstance(inner, dict):
                yield from walk(inner, where, after)

    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        if isinstance(loader.get('dataset'), dict):
            yield from walk(loader['dataset'], f'{split}_dataloader', [])


def split_pipeline(
    pipeline: list[dict], where: str, after: Sequence[str] = ()
) -> tuple[list[dict] | None, list[dict]]:
    """Split a pipeline into the resize at its end and the rest.

    Args:
        pipeline: Configs of transforms.
        where: Name of its dataloader, for the log.
        after: Names of transforms that run after the pipeline and depend on the size
            that its resize gives.

    Returns:
        tuple: The transforms that resize and then pad, or None if no transform resizes
        or the resize has to stay; and the other transforms.
    """
    names = [type_name(transform) for transform in pipeline]
    if 'TestTimeAug' in names:  # a library's test.py has put its tta_pipeline here
        return None, noted_tta(pipeline)
    last = max(
        (
            i
            for i, name in enumerate(names)
            if name in RESIZES
            or (name == 'RandomChoice' and 'Resize' in str(pipeline[i]))
        ),
        default=None,
    )
    if last is None:
        return None, pipeline
    later = [*filter(None, map(_needs_size, pipeline[last + 1 :])), *after]
    if later:
        print_log(
            f'the resize of {where} stays before the SR network, since '
            f'{later[0]} comes after it',
            'current',
            logging.WARNING,
        )
        return None, pipeline
    if names[last] == 'RandomChoice':
        return None, _noted_choice(pipeline, last)
    moves = {last, *(i for i in range(last, len(names)) if names[i] == 'Pad')}
    return (
        [copy.deepcopy(pipeline[i]) for i in sorted(moves)],
        [one for i, one in enumerate(pipeline) if i not in moves],
    )


def _needs_size(transform: Mapping) -> str | None:
    """Return a transform's name if it works on sizes that one before it gave."""
    name = type_name(transform)
    inside = str(transform.get('transforms')) if name == 'RandomChoice' else ''
    return name if _NEEDS_SIZE.search(name + inside) else None


def _noted_choice(pipeline: list[dict], place: int) -> list[dict]:
    """Note the last resize of each branch of the ``RandomChoice`` at a place."""
    pipeline = copy.deepcopy(pipeline)
    branches = []
    for branch in pipeline[place]['transforms']:
        rule, rest = split_pipeline(as_list(branch), 'a branch of RandomChoice')
        branches.append(
            [*rest, dict(type='mmsr4ir.NoteTaskSize', resize=rule)] if rule else rest
        )
    pipeline[place]['transforms'] = branches
    return [
        dict(type='mmsr4ir.PackTaskSize', pack=one)
        if type_name(one).startswith('Pack')
        else one
        for one in pipeline
    ]


def noted_tta(pipeline: list[dict]) -> list[dict]:
    """Note the sizes in a pipeline of test-time augmentation, instead of resizing.

    Args:
        pipeline: Configs of transforms, with ``TestTimeAug`` among them.

    Returns:
        list[dict]: The pipeline; as it was, if a transform after the resize needs the
        size that the resize gives.
    """
    resizes = [one for one in pipeline if type_name(one) in RESIZES]
    noted = []
    for place, transform in enumerate(pipeline):
        if type_name(transform) == 'TestTimeAug':
            stages = [*([[one] for one in resizes]), *transform['transforms']]
            later = _after_resize(
                [*([one] for one in pipeline[:place]), *transform['transforms']]
            )
            if later:
                print_log(
                    'the resize of test-time augmentation stays before the SR network, '
                    f'since {later} comes after it',
                    'current',
                    logging.WARNING,
                )
                return pipeline
            transform = dict(transform, transforms=_noted(stages))
        if type_name(transform) not in RESIZES:
            noted.append(transform)
    return noted


def _after_resize(stages: list[list[dict]]) -> str | None:
    """Return the name of what needs the size that a stage before it resized to."""
    resized = False
    for stage in stages:
        resizes = [one for one in stage if type_name(one) in RESIZES]
        for one in stage:
            if resized and one not in resizes and _needs_size(one):
                return _needs_size(one)
        resized = resized or bool(resizes)
    return None


def _noted(stages: list[list[dict]]) -> list[list[dict]]:
    """Note the sizes in the stages of ``TestTimeAug``, instead of resizing."""
    pads = [one for stage in stages for one in stage if type_name(one) == 'Pad']
    noted = []
    if not any(type_name(one) in RESIZES for stage in stages for one in stage):
        return stages
    for stage in stages:
        stage = [
            dict(type='mmsr4ir.NoteTaskSize', resize=[one, *pads])
            if type_name(one) in RESIZES
            else one
            for one in stage
        ]
        noted.append(
            [
                dict(type='mmsr4ir.PackTaskSize', pack=one)
                if type_name(one).startswith('Pack')
                else one
                for one in stage
                if type_name(one) != 'Pad'
            ]
        )
    return [stage for stage in noted if stage]


def return_resize(cfg: Mapping) -> dict:
    """Undo :func:`move_resize` in a config's validation and test.

    For the task network alone, without the model that resizes.

    Args:
        cfg: The whole config, read as data; it is left as it is.

    Returns:
        dict: The whole config, with the resize in its pipelines again.
    """
    returned = copy.deepcopy(dict(cfg))
    rule = returned['model'].get('task_resize') or []
    rule = as_list(
        rule.get('test') if isinstance(rule, Mapping) and 'type' not in rule else rule
    )
    for dataset, *_ in _pipelines(returned, ('val', 'test')):
        pipeline, own = dataset['pipeline'], rule
        if type_name(pipeline[-1]) == 'PackTaskSize':
            *pipeline, note, pack = pipeline
            pipeline, own = [*pipeline, pack['pack']], note['resize']
        # After the image, before labels: they stay in the pixels of the file.
        place = max(
            (
                i + 1
                for i, one in enumerate(pipeline)
                if type_name(one).startswith('LoadImage')
            ),
            default=0,
        )
        dataset['pipeline'] = [*pipeline[:place], *own, *pipeline[place:]]
    for transform in returned.get('tta_pipeline') or ():
        if type_name(transform) == 'TestTimeAug':
            transform['transforms'] = _given_back(transform['transforms'])
    return returned


def _given_back(stages: list[list[dict]]) -> list[list[dict]]:
    """Undo :func:`_noted`."""
    found, pads = [], []
    for stage in stages:
        if any(type_name(one) == 'NoteTaskSize' for one in stage):
            noted = [one for one in stage if type_name(one) == 'NoteTaskSize']
            pads = noted[0]['resize'][1:]
            stage = [one['resize'][0] if one in noted else one for one in stage]
        if any(type_name(one) == 'PackTaskSize' for one in stage):
            found += [[pad] for pad in pads]
            stage = [one['pack'] for one in stage]
        found.append(stage)
    return found
