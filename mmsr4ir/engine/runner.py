"""Move the resize of a config's pipelines into its model, and run such configs."""

import copy
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmsr4ir.models.task_resize import RESIZES
from mmsr4ir.registry import RUNNERS
from mmsr4ir.utils.configs import as_list, batch_augments, type_name

from .exact_loops import use_exact_loops
from .gpu_settings import count_on_cpu, explain_not_deterministic, set_tf32
from .zoo_checks import check_zoo

# What works on the size that a resize before it gave: it belongs to the augmentation.
_NEEDS_SIZE = re.compile(
    'Affine|CopyPaste|Crop|CutOut|Erasing|Expand|GridMask|MixUp|Mixup|Mosaic|'
    'Perspective|Resize|Shift|TestTimeAug'
)


@RUNNERS.register_module()
class SR4IRRunner(Runner):
    """Run a config with ``model.task_resize='pipeline'``, and resume it exactly.

    OpenMMLab's tools build it where a config has
    ``runner_type = 'mmsr4ir.SR4IRRunner'``.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:
        """Build a Runner from a whole config.

        See :func:`move_resize` and :func:`~.exact_loops.use_exact_loops`.

        Raises:
            ConfigError: If the config needs what :func:`check_zoo` does not find.
        """
        check_zoo(cfg)
        use_exact_loops(cfg)
        return super().from_cfg(move_resize(cfg))

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'cpu',
    ) -> None:
        """Continue from a checkpoint as MMEngine does, but load it on the CPU.

        MMEngine loads it on the GPU. There it takes memory beside the networks, and
        the ``step`` of AdamW stays there, for which each update waits.
        """
        super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment as MMEngine does, and TF32 by ``env_cfg.tf32``.

        Raises:
            ConfigError: If ``env_cfg.tf32`` is neither True nor False.
        """
        set_tf32(env_cfg.get('tf32'))
        super().setup_env(env_cfg)

    def set_randomness(
        self,
        seed: int | None,
        diff_rank_seed: bool = False,
        deterministic: bool = False,
    ) -> None:
        """Set the seed as MMEngine does; with ``deterministic`` prepare cuBLAS too."""
        if deterministic:
            # While deterministic algorithms are on, torch reads this variable before it
            # first multiplies matrices on a GPU, and refuses to do so without it.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """Build metrics as MMEngine does; deterministic ones if the run is."""
        built = super().build_evaluator(evaluator)
        if torch.are_deterministic_algorithms_enabled():
            count_on_cpu(built)
        return built

    def train(self) -> nn.Module:
        """Train; an operation that is not deterministic is named with its setting."""
        with explain_not_deterministic():
            return super().train()

    def val(self) -> dict:
        """Validate; an operation that is not deterministic is named, too."""
        with explain_not_deterministic():
            return super().val()

    def test(self) -> dict:
        """Test; an operation that is not deterministic is named, too."""
        with explain_not_deterministic():
            return super().test()

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict,
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a dataloader as MMEngine does, also with ``num_workers=0``.

        torch refuses settings of worker processes if there are no such processes, but
        configs set them in a base. With a GPU, batches wait in pinned memory unless the
        config sets ``pin_memory``: a copy from there does not hold up the CPU.
        """
        if isinstance(dataloader, Mapping):
            dataloader = copy.copy(dataloader)
            # torch warns of True if there is no GPU.
            dataloader.setdefault('pin_memory', torch.cuda.is_available())
            if not dataloader.get('num_workers'):
                for name in ('persistent_workers', 'prefetch_factor'):
                    dataloader.pop(name, None)
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)


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
        cfg.tta_pipeline = _noted_tta(cfg.tta_pipeline)
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


def _noted_tta(pipeline: list[dict]) -> list[dict]:
    """Note the sizes in a pipeline of test-time augmentation."""
    resizes = [one for one in pipeline if type_name(one) in RESIZES]
    noted = []
    for transform in pipeline:
        if type_name(transform) == 'TestTimeAug':
            stages = [*([[one] for one in resizes]), *transform['transforms']]
            transform = dict(transform, transforms=_noted(stages))
        if type_name(transform) not in RESIZES:
            noted.append(transform)
    return noted


def _noted(stages: list[list[dict]]) -> list[list[dict]]:
    """Note the sizes in the stages of ``TestTimeAug``, instead of resizing."""
    pads = [one for stage in stages for one in stage if type_name(one) == 'Pad']
    noted = []
    if not any(type_name(one) in RESIZES for stage in stages for one in stage):
        return stages
    for stage in stages:
        if any(type_name(one) in RESIZES for one in stage):
            stage = [
                dict(type='mmsr4ir.NoteTaskSize', resize=[one, *pads]) for one in stage
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
            pads = stage[0]['resize'][1:]
            stage = [one['resize'][0] for one in stage]
        if any(type_name(one) == 'PackTaskSize' for one in stage):
            found += [[pad] for pad in pads]
            stage = [one['pack'] for one in stage]
        found.append(stage)
    return found
