"""How the two networks are trained, as data.

A recipe is a dict of phases. In every iteration the active phases run in order; each
adds up its losses and updates its networks while the other one is frozen:

.. code-block:: python

    recipe = dict(
        sr=dict(update=['sr'],
                losses=dict(pixel=1.0, tdp=dict(weight=1.0, during='main'))),
        task=dict(update=['task'],
                  losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)))

The losses are ``pixel`` and ``tdp`` (SR against HR) and ``task_<image>``, the task
network's own loss on the image ``hr``, ``sr`` or ``mix``. A phase and a loss may be
limited to the stage ``'warmup'`` or ``'main'`` with ``during``;
:class:`~mmsr4ir.engine.AlternateTrainingHook` switches from the one to the other.
"""
from collections.abc import Mapping
from dataclasses import dataclass

NETWORKS = ('sr', 'task')
STAGES = ('warmup', 'main')
# What each loss can teach: the networks that its value depends on.
_LOSSES = {
    'pixel': {'sr'},
    'tdp': {'sr'},
    'task_hr': {'task'},
    'task_sr': {'sr', 'task'},
    'task_mix': {'sr', 'task'},
}


@dataclass(frozen=True)
class LossTerm:
    """One loss of a phase.

    Attributes:
        name: ``'pixel'``, ``'tdp'`` or ``'task_<image>'``.
        weight: Factor before it is added up.
        during: The stage in which it counts, or ``'all'``.
    """

    name: str
    weight: float
    during: str = 'all'

    @property
    def image(self) -> str:
        """The image that the loss looks at: ``'hr'``, ``'sr'`` or ``'mix'``."""
        return self.name[5:] if self.name.startswith('task_') else 'sr'


@dataclass(frozen=True)
class Phase:
    """One update within an iteration.

    Attributes:
        name: Its name in the logs.
        update: The networks it updates; the others are frozen meanwhile.
        losses: What it adds up.
        during: The stage in which it runs, or ``'all'``.
    """

    name: str
    update: tuple[str, ...]
    losses: tuple[LossTerm, ...]
    during: str = 'all'

    def active_losses(self, stage: str) -> list[LossTerm]:
        """The losses that count in a stage."""
        return [term for term in self.losses if term.during in ('all', stage)]


def parse_recipe(cfg: Mapping, images: tuple[str, ...] = ('hr', 'sr', 'mix')
                 ) -> tuple[Phase, ...]:
    """Read a recipe and see that every part of it can work.

    Args:
        cfg: Phases by name, see the module's text.
        images: The images that the model makes.

    Returns:
        tuple[Phase, ...]: The phases in order.

    Raises:
        ValueError: A phase that updates nothing, an unknown key, network, loss or
            stage, a loss on an image that the model does not make, or a loss that
            no updated network can change.
    """
    if not cfg:
        raise ValueError('the recipe has no phase: give at least one')
    return tuple(_parse_phase(name, phase, images) for name, phase in cfg.items())


def _parse_phase(name: str, cfg: Mapping, images: tuple[str, ...]) -> Phase:
    where = f'recipe phase {name!r}'
    unknown = set(cfg) - {'update', 'losses', 'during'}
    if unknown:
        raise ValueError(
            f'{where}: unknown keys {sorted(unknown)}; '
            "a phase has 'update', 'losses' and 'during'")
    update = cfg.get('update') or ()
    update = (update, ) if isinstance(update, str) else tuple(update)
    if not update:
        raise ValueError(
            f"{where} updates nothing: give update=['sr'], ['task'] or both")
    if set(update) - set(NETWORKS):
        raise ValueError(
            f'{where}: update={list(update)}, but the networks are {list(NETWORKS)}')
    if not cfg.get('losses'):
        raise ValueError(f'{where} has no loss: give losses=dict(<name>=<weight>)')
    losses = tuple(
        _parse_loss(f'{where}, loss {loss!r}', loss, term, update, images)
        for loss, term in cfg['losses'].items())
    phase = Phase(name, update, losses, _parse_during(where, cfg))
    for stage in STAGES if phase.during == 'all' else (phase.during, ):
        reached = set().union(
            *(_LOSSES[term.name] for term in phase.active_losses(stage)))
        idle = [network for network in update if network not in reached]
        if idle:
            raise ValueError(
                f'{where} updates {idle} but has no loss that changes with it in '
                f'stage {stage!r}: add one, or limit the phase with `during`')
    return phase


def _parse_loss(where: str, name: str, term: float | Mapping, update: tuple[str, ...],
                images: tuple[str, ...]) -> LossTerm:
    cfg = term if isinstance(term, Mapping) else dict(weight=term)
    unknown = set(cfg) - {'weight', 'during'}
    if unknown:
        raise ValueError(
            f"{where}: unknown keys {sorted(unknown)}; a loss has 'weight', 'during'")
    if name.startswith('task_') and name[5:] not in images:
        raise ValueError(
            f'{where} needs the image {name[5:]!r}, which this recipe does not make; '
            f'it makes {list(images)}'
            + (" ('mix' needs patch_mix=dict(...))" if name == 'task_mix' else ''))
    if name not in _LOSSES:
        raise ValueError(f'{where} is unknown; the losses are {sorted(_LOSSES)}')
    if not _LOSSES[name] & set(update):
        raise ValueError(
            f'{where} does not change with {list(update)}, all that the phase '
            'updates: remove it, or update '
            f'{sorted(_LOSSES[name])}')
    return LossTerm(name, float(cfg.get('weight', 1.0)), _parse_during(where, cfg))


def _parse_during(where: str, cfg: Mapping) -> str:
    during = cfg.get('during', 'all')
    if during not in ('all', *STAGES):
        raise ValueError(
            f"{where}: during={during!r}; use 'all', 'warmup' or 'main'")
    return during
