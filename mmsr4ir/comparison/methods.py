"""The methods as changes of one SR4IR config, and which part needs which."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmsr4ir.models.recipes import parse_recipe
from mmsr4ir.utils.configs import CONFIGS
from mmsr4ir.utils.errors import SR4IRError

# For a method that compares features, if the config has no layer for that.
TDP = dict(type='mmsr4ir.TDPLoss', layer=('neck', 'backbone'))


@dataclass(frozen=True)
class Method:
    """What a method changes in an SR4IR config.

    Attributes:
        title: Its name in tables.
        restores: Whether it has an SR network; else images are interpolated.
        test_on: The image that it is tested on.
        trains_task: Whether the task network learns in it.
        needs: Networks that come from another method's run, by that method's name.
    """

    title: str
    restores: bool = True
    test_on: str = 'sr'
    trains_task: bool = True
    needs: dict[str, str] = field(default_factory=dict)


METHODS = dict(
    h2t=Method('H→T', restores=False, test_on='hr'),
    l2t=Method('L→T', restores=False),
    l2t_kd=Method('L→T+KD', restores=False, needs=dict(teacher='h2t')),
    s2t=Method('S→T', needs=dict(sr='s')),
    s2t_kd=Method('S→T+KD', needs=dict(sr='s', teacher='h2t')),
    t2s=Method('T→S', trains_task=False, needs=dict(task='h2t')),
    frozen_t=Method('frozen T', trains_task=False, needs=dict(task='h2t')),
    s_and_t=Method('S+T'),
    sr4ir=Method('SR4IR'),
    hlf_fm=Method('HLF+FM', needs=dict(sr='s', task='h2t', teacher='h2t')),
)
# What methods start from: an SR network trained on pixels, a task network trained on HR
# images. They are not tested.
PREPARATIONS = dict(s=Method('S', trains_task=False), t=Method('T', restores=False))
STARTS = ('config', 'trained')


class ComparisonError(SR4IRError, ValueError):
    """A comparison cannot be run; the message names the reason and the fix."""


@dataclass
class Part:
    """One training with its test.

    Attributes:
        method: Key of :data:`METHODS` or :data:`PREPARATIONS`.
        seed: Random seed.
        folder: Where all of its files go.
        cfg: Its config.
        needs: The parts that a network comes from, by that network.
        judge: The part whose task network judges its images in the test, or None.
    """

    method: str
    seed: int
    folder: Path
    cfg: Config
    needs: dict[str, 'Part'] = field(default_factory=dict)
    judge: 'Part | None' = None

    @property
    def title(self) -> str:
        """The method and the seed, in words."""
        return f'{self.info.title} seed {self.seed}'

    @property
    def info(self) -> Method:
        """What the method changes in a config."""
        return (METHODS | PREPARATIONS)[self.method]

    @property
    def checkpoint(self) -> Path:
        """The trained networks, once it is done."""
        return self.folder / 'final.pth'

    @property
    def is_trained(self) -> bool:
        """Whether the training has ended well."""
        return (self.folder / 'trained.json').exists()

    @property
    def sources(self) -> list['Part']:
        """What it needs, and what that needs in turn, each once."""
        found: dict[str, Part] = {}
        for part in self.needs.values():
            found |= {one.method: one for one in (*part.sources, part)}
        return list(found.values())

    @property
    def is_tested(self) -> bool:
        """Whether a test belongs to the training."""
        return self.method in METHODS


def needed(method: str, start: str) -> dict[str, str]:
    """Return the networks that come from another method's run, by that method's name.

    Args:
        method: Key of :data:`METHODS` or :data:`PREPARATIONS`.
        start: ``'config'``: what the method itself wants; ``'trained'``: every method
            starts from the task network of ``t`` and, if it restores, from the SR
            network of ``s``. H→T does too, so that the upper bound has had as many
            updates as the others. A task network that does not learn is that of H→T.
    """
    info = (METHODS | PREPARATIONS)[method]
    if start == 'config' or method in PREPARATIONS:
        return info.needs
    task = dict(task='t') if info.trains_task else {}
    return info.needs | task | (dict(sr='s') if info.restores else {})


def plan_parts(
    cfg: Config,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    start: str = 'config',
) -> list[Part]:
    """List what is to be trained, a part after those that it needs.

    Args:
        cfg: An SR4IR config with the user's settings in it.
        methods: Keys of :data:`METHODS`.
        seeds: Random seeds; each method is trained once with each.
        out: Folder of the comparison.
        start: One of :data:`STARTS`, see :func:`needed`.

    Raises:
        ComparisonError: If the config is no SR4IR config, or a method is unknown.
    """
    model = cfg.get('model') or {}
    if model.get('type') != 'mmsr4ir.SR4IR':
        raise ComparisonError(
            f'{cfg.filename}: model is {model.get("type")!r}; the comparison takes '
            'a config whose model is mmsr4ir.SR4IR and derives the other methods'
        )
    if cfg.get('load_from'):
        raise ComparisonError(
            f'{cfg.filename}: load_from would replace the networks that a method takes '
            'from another one (S→T, T→S): give each network its file by '
            "model.<network>.init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
    unknown = set(methods) - set(METHODS)
    if unknown:
        raise ComparisonError(
            f'unknown methods {sorted(unknown)}; there are {list(METHODS)}'
        )
    unknown = set(cfg.get('comparison') or {}) - set(METHODS | PREPARATIONS)
    if unknown:
        raise ComparisonError(
            f'{cfg.filename}: comparison has settings for unknown methods '
            f'{sorted(unknown)}; there are {list(METHODS | PREPARATIONS)}'
        )
    parts = []
    for seed in dict.fromkeys(seeds):  # two of one kind would share a folder
        made: dict[str, Part] = {}

        def add(method: str, seed: int = seed, made: dict = made) -> Part:
            if method not in made:
                needs = {
                    network: add(other)
                    for network, other in needed(method, start).items()
                }
                own = method_config(cfg, method, seed, start)
                for network, part in needs.items():
                    own.model.setdefault(network, ConfigDict()).init_cfg = dict(
                        type='Pretrained', checkpoint=str(part.checkpoint)
                    )
                made[method] = Part(
                    method, seed, out / method / f'seed_{seed}', own, needs
                )
                parts.append(made[method])
            return made[method]

        for method in methods:
            add(method)
        for part in made.values():
            if part.is_tested and part.info.test_on != 'hr':
                part.judge = made.get('h2t')
    return parts


def method_config(cfg: Config, method: str, seed: int, start: str = 'config') -> Config:
    """Turn an SR4IR config into that of another method.

    Everything that the methods share stays: data, schedules, optimizers, networks.
    SR4IR keeps its recipe; the others get theirs from ``configs/_base_/recipes``. With
    ``start='trained'`` no method has a warm-up, since the features mean something from
    the first iteration on. What ``comparison=dict(<method>=dict(...))`` in the config
    holds is put on top.
    """
    info = (METHODS | PREPARATIONS)[method]
    cfg = copy.deepcopy(cfg)
    model = cfg.model
    if method != 'sr4ir':
        recipe = Config.fromfile(CONFIGS / '_base_' / 'recipes' / f'{method}.py')
        model.recipe = ConfigDict(recipe.recipe)
        compares = any(
            term.compares_features
            for phase in parse_recipe(recipe.recipe)
            for term in phase.losses
        )
        tdp = model.pop('tdp', None) or dict(TDP)
        if compares:
            model.tdp = tdp
        model.pop('teacher', None)
        model.pop('patch_mix', None)
    if not info.restores:
        scale = model.get('degradation', {}).get('scale', 4)
        model.sr = ConfigDict(
            type='mmsr4ir.InterpolateUpsampler', scale=scale, mode='bilinear'
        )
        model.pop('sr_range', None)
        cfg.default_hooks.pop('activation_checkpoint', None)  # of parts of S
    model.test_on = info.test_on
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='mmsr4ir.RunRecordHook'),
    ]
    cfg.default_hooks.setdefault('picture_grid', dict(type='mmsr4ir.PictureGridHook'))
    if start == 'trained' and 'alternate' in cfg.default_hooks:
        cfg.default_hooks.alternate.warmup = 0
    if method in PREPARATIONS:
        # They are not compared, so a validation would only cost time.
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    own = (cfg.get('comparison') or {}).get(method)
    if own:
        cfg.merge_from_dict(own)
    cfg.pop('comparison', None)
    return cfg
