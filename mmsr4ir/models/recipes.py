"""How the two networks are trained, as data.

A recipe is a dict of phases. In every iteration the active phases run one after the
other. Each adds up its losses and updates its networks while the other one is frozen.
Names must sort as the phases run (``sr`` before ``task``), since MMEngine sorts them:

.. code-block:: python

    recipe = dict(
        sr=dict(update=['sr'],
                losses=dict(pixel=1.0, tdp=dict(weight=1.0, during='main'))),
        task=dict(update=['task'],
                  losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)))

===================  =============================================  =================
Loss                 What it compares                               What it teaches
===================  =============================================  =================
``pixel``            SR with HR                                     S
``tdp``              T's features of SR with T's of HR              S
``tdp_teacher``      the teacher's features of SR with those of HR  S
``task_<image>``     T's predictions on the image with the labels   T; S, but on ``hr``
===================  =============================================  =================

The image is ``hr``, ``sr`` or ``mix``. A phase and a loss may be limited to the stage
``'warmup'`` or ``'main'`` with ``during``;
:class:`~mmsr4ir.engine.AlternateTrainingHook` switches from the one to the other.

Feature matching belongs to a task loss: ``task_sr=dict(weight=1.0, match=0.5)`` adds
0.5 times the distance of T's features in this pass from the teacher's features of HR.

``task_sr|hr`` is the task loss on one batch, SR for its first half and HR for its
second (of an odd number the larger half is SR): one pass instead of two.

A phase that updates the task network alone makes the backward pass of each loss as soon
as it is computed, so memory holds one pass of that network at a time. Two ways to do
less work change the numbers: ``task_sr+hr+mix`` is the task network's loss on one batch
of all three images, one pass instead of three; and a phase with ``reuse_sr=True`` takes
the SR images of the phase before it, made before S was updated, instead of running S
again.

With ``share=0.5`` a phase sees only the first half of the batch, the one that
``task_sr|hr`` shows to T as SR.

An S that a phase does not update is in eval mode there. With ``sr_in_train_mode=True``
it stays in train mode, as in phase 2 of the published trainer, which makes a difference
to networks with dropout or stochastic depth, such as SwinIR.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from mmsr4ir.utils.errors import ConfigError

NETWORKS = ('sr', 'task')
STAGES = ('warmup', 'main')
_ORDER = ('sr', 'hr', 'mix')  # that of the published trainer
# What each loss, and T's own loss on each image, can teach: the networks that its value
# depends on.
_LOSSES = {'pixel': {'sr'}, 'tdp': {'sr'}, 'tdp_teacher': {'sr'}}
_IMAGES = {'hr': {'task'}, 'sr': {'sr', 'task'}, 'mix': {'sr', 'task'}}


@dataclass(frozen=True)
class LossTerm:
    """One loss of a phase.

    Attributes:
        name: ``'pixel'``, ``'tdp'``, ``'tdp_teacher'`` or ``'task_<image>'``, where
            the images may be several, as ``'task_sr+hr'`` or ``'task_sr|hr'``.
        weight: Factor before it is added up.
        during: The stage in which it counts, or ``'all'``.
        match: Factor of the distance of T's features from the teacher's of HR.
    """

    name: str
    weight: float
    during: str = 'all'
    match: float = 0.0

    @property
    def is_task(self) -> bool:
        """Whether it is the task network's own loss."""
        return self.name.startswith('task_')

    @property
    def images(self) -> tuple[str, ...]:
        """The images that the loss looks at: of ``'hr'``, ``'sr'`` and ``'mix'``."""
        if not self.is_task:
            return ('sr',)
        return tuple(self.image.split('|' if self.is_divided else '+'))

    @property
    def image(self) -> str:
        """The images as the loss and its logs name them, such as ``'sr|hr'``."""
        return self.name.removeprefix('task_')

    @property
    def is_divided(self) -> bool:
        """Whether the images share one batch, a part of it each."""
        return '|' in self.name

    @property
    def compares_features(self) -> bool:
        """Whether it needs the features that ``model.tdp`` names."""
        return self.name.startswith('tdp') or bool(self.match)

    @property
    def needs_teacher(self) -> bool:
        """Whether it needs the teacher."""
        return self.name == 'tdp_teacher' or bool(self.match)

    @property
    def needs_sr(self) -> bool:
        """Whether it looks at SR images."""
        return self.images != ('hr',)

    @property
    def share_of_sr(self) -> float:
        """The part of its batch, from the first image on, whose SR it looks at."""
        if not self.is_divided:
            return float(self.needs_sr)
        made = [image != 'hr' for image in self.images]
        return (len(made) - made[::-1].index(True)) / len(made)

    @property
    def teaches(self) -> set[str]:
        """The networks that its value depends on."""
        return (
            set().union(*(_IMAGES[image] for image in self.images))
            if (self.is_task)
            else _LOSSES[self.name]
        )


@dataclass(frozen=True)
class Phase:
    """One update within an iteration.

    Attributes:
        name: Its name in the logs.
        update: The networks it updates; the others are frozen meanwhile.
        losses: What it adds up.
        during: The stage in which it runs, or ``'all'``.
        reuse_sr: Whether it takes the SR images of the phase before it.
        sr_in_train_mode: Whether S, which it does not update, is in train mode.
        share: The part of the batch, from its first image on, that it sees.
    """

    name: str
    update: tuple[str, ...]
    losses: tuple[LossTerm, ...]
    during: str = 'all'
    reuse_sr: bool = False
    sr_in_train_mode: bool = False
    share: float = 1.0

    def active_losses(self, stage: str) -> list[LossTerm]:
        """Return the losses that count in a stage."""
        return [term for term in self.losses if term.during in ('all', stage)]


def active_phases(recipe: Iterable[Phase], stage: str) -> list[Phase]:
    """Return the phases that run in a stage, in order."""
    return [phase for phase in recipe if phase.during in ('all', stage)]


def parse_recipe(
    cfg: Mapping, images: tuple[str, ...] = ('hr', 'sr', 'mix')
) -> tuple[Phase, ...]:
    """Read a recipe and check that every part of it can work.

    Args:
        cfg: Phases by name, see the module's text.
        images: The images that the model makes.

    Returns:
        tuple[Phase, ...]: The phases in order.

    Raises:
        ConfigError: If the phases are not in the order of their names, or none of them
            runs in the main stage; if a phase updates nothing, or a network twice; if a
            key, network, loss or stage is unknown; if a weight is not finite; if a loss
            looks at an image that the model does not make, or does not depend on the
            networks that its phase updates; if a share is not in (0, 1]; or if a phase
            reuses SR images and updates the SR network, or no phase before it makes SR
            images, or makes them of a smaller share than it needs.
    """
    if not cfg:
        raise ConfigError('the recipe has no phase: give at least one')
    if not isinstance(cfg, Mapping) or not all(
        isinstance(phase, Mapping) and isinstance(phase.get('losses', {}), Mapping)
        for phase in cfg.values()
    ):
        raise ConfigError(
            f'recipe={cfg}: it must be a dict of phases, each a dict with '
            'a dict of losses'
        )
    phases = tuple(_parse_phase(name, phase, images) for name, phase in cfg.items())
    for stage in STAGES:
        names = [phase.name for phase in active_phases(phases, stage)]
        if names != sorted(names):
            raise ConfigError(
                f'the recipe has the phases {names}, which run in this order, but '
                'MMEngine sorts names where it writes a config (work directories, '
                'comparisons): give them names that sort as they run, such as '
                f'{[f"{i}_{name}" for i, name in enumerate(names, 1)]}'
            )
    if not active_phases(phases, 'main'):
        raise ConfigError(
            "no phase of the recipe runs in stage 'main', the one after "
            "the warm-up: give one during='main' or 'all'"
        )
    for number, phase in enumerate(phases):
        if phase.reuse_sr:
            _check_reuse(phase, phases[:number])
    return phases


def _check_reuse(phase: Phase, before: tuple[Phase, ...]) -> None:
    where = f'recipe phase {phase.name!r}, reuse_sr'
    if 'sr' in phase.update:
        raise ConfigError(
            f'{where}: it updates the SR network, which learns only from SR '
            'images of its own; take reuse_sr out'
        )
    for stage in STAGES if phase.during == 'all' else (phase.during,):
        makers = [
            other
            for other in active_phases(before, stage)
            if any(term.needs_sr for term in other.active_losses(stage))
        ]
        if not makers:
            raise ConfigError(
                f'{where}: in stage {stage!r} no phase before it makes SR '
                'images; take reuse_sr out, or limit it with `during`'
            )
        needed = phase.share * max(
            (term.share_of_sr for term in phase.active_losses(stage)), default=0.0
        )
        if makers[-1].share < needed - 1e-9:
            raise ConfigError(
                f'{where}: it needs the SR images of {needed:.3g} of the batch, and '
                f'phase {makers[-1].name!r} has share={makers[-1].share}; take one of '
                'the two out'
            )


def _parse_phase(name: str, cfg: Mapping, images: tuple[str, ...]) -> Phase:
    where = f'recipe phase {name!r}'
    keys = [field.name for field in fields(Phase)][1:]
    unknown = set(cfg) - set(keys)
    if unknown:
        raise ConfigError(
            f'{where}: unknown keys {sorted(unknown)}; a phase has {keys}'
        )
    update = cfg.get('update') or ()
    update = (update,) if isinstance(update, str) else tuple(update)
    if not update:
        raise ConfigError(
            f"{where} updates nothing: give update=['sr'], ['task'] or both"
        )
    if set(update) - set(NETWORKS):
        raise ConfigError(
            f'{where}: update={list(update)}, but the networks are {list(NETWORKS)}'
        )
    if len(set(update)) < len(update):
        raise ConfigError(f'{where}: update={list(update)} names a network twice')
    if not cfg.get('losses'):
        raise ConfigError(f'{where} has no loss: give losses=dict(<name>=<weight>)')
    losses = tuple(
        _parse_loss(f'{where}, loss {loss!r}', loss, term, update, images)
        for loss, term in cfg['losses'].items()
    )
    # Not as they stand there, since MMEngine sorts names where it writes a config: in
    # this order T's passes change its running statistics and draw random numbers.
    losses = tuple(
        sorted(
            losses,
            key=lambda term: (
                term.is_task,
                [_ORDER.index(image) for image in term.images],
                term.name,
            ),
        )
    )
    phase = Phase(
        name,
        update,
        losses,
        _parse_during(where, cfg),
        reuse_sr=bool(cfg.get('reuse_sr', False)),
        sr_in_train_mode=bool(cfg.get('sr_in_train_mode', False)),
        share=float(cfg.get('share', 1.0)),
    )
    if not 0 < phase.share <= 1:
        raise ConfigError(
            f'{where} has the share {phase.share}: give a part of the batch, more '
            'than 0 and at most 1'
        )
    if phase.sr_in_train_mode and ('sr' in update or phase.reuse_sr):
        raise ConfigError(
            f'{where}, sr_in_train_mode: it is for a phase that runs the SR network '
            'and does not update it; take sr_in_train_mode out'
        )
    for stage in STAGES if phase.during == 'all' else (phase.during,):
        reached = set().union(*(term.teaches for term in phase.active_losses(stage)))
        idle = [network for network in update if network not in reached]
        if idle:
            raise ConfigError(
                f'{where} updates {idle} but has no loss that changes with it in '
                f'stage {stage!r}: add one, or limit the phase with `during`'
            )
    return phase


def _parse_loss(
    where: str,
    name: str,
    term: float | Mapping,
    update: tuple[str, ...],
    images: tuple[str, ...],
) -> LossTerm:
    cfg = term if isinstance(term, Mapping) else dict(weight=term)
    is_task = name.startswith('task_')
    keys = ('weight', 'during', *['match'] * is_task)
    unknown = set(cfg) - set(keys)
    if unknown:
        raise ConfigError(
            f'{where}: unknown keys {sorted(unknown)}; this loss has {list(keys)}'
        )
    loss = LossTerm(
        name,
        float(cfg.get('weight', 1.0)),
        _parse_during(where, cfg),
        float(cfg.get('match', 0.0)),
    )
    for key in ('weight', 'match'):
        if not math.isfinite(value := getattr(loss, key)):
            raise ConfigError(f'{where} has the {key} {value}: give a finite one')
    if is_task:
        missing = [image for image in loss.images if image not in images]
        if missing:
            raise ConfigError(
                f'{where} needs the image {missing[0]!r}, which this recipe does not '
                f'make; it makes {list(images)}'
                + (" ('mix' needs patch_mix=dict(...))" if 'mix' in missing else '')
            )
        if len(set(loss.images)) < len(loss.images):
            raise ConfigError(f'{where} names an image twice')
    elif name not in _LOSSES:
        raise ConfigError(
            f'{where} is unknown; the losses are '
            f'{sorted([*_LOSSES, *(f"task_{image}" for image in images)])}'
        )
    if not loss.teaches & set(update):
        raise ConfigError(
            f'{where} does not change with {list(update)}, all that the phase '
            f'updates: remove it, or update {sorted(loss.teaches)}'
        )
    return loss


def _parse_during(where: str, cfg: Mapping) -> str:
    during = cfg.get('during', 'all')
    if during not in ('all', *STAGES):
        raise ConfigError(f"{where}: during={during!r}; use 'all', 'warmup' or 'main'")
    return during
