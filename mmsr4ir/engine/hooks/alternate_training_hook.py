"""Warm-up and the switch between the stages of a recipe."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

from mmsr4ir.compat.mmengine_parts import accumulative_counts
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.recipes import active_phases
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import HOOKS
from mmsr4ir.utils.errors import ConfigError


@HOOKS.register_module()
class AlternateTrainingHook(Hook):
    """Tell the model the stage of its recipe, ``'warmup'`` or ``'main'``.

    While the task network's features mean nothing yet, they make a bad judge of SR
    images; so the TDP loss is off in the warm-up (SR4IR, section 3). The stage
    follows from the epoch or iteration alone, so a resumed training is in the right
    one.

    Args:
        warmup: Epochs or iterations of warm-up.
        by_epoch: Whether ``warmup`` counts epochs.
    """

    priority = 'VERY_HIGH'

    def __init__(self, warmup: int = 0, by_epoch: bool = True) -> None:
        if warmup < 0:
            raise ConfigError(f'warmup cannot be negative, got {warmup}')
        self.warmup = warmup
        self.by_epoch = by_epoch
        self._logged_stage: str | None = None

    def before_train(self, runner: Runner) -> None:
        """Check that the warm-up can end and each phase has the optimizers it needs.

        Raises:
            ConfigError: If the warm-up counts epochs and the loop has none, if a phase
                has no optimizer, or if two optimizers that share a loss accumulate
                differently.
        """
        if (
            self.warmup
            and self.by_epoch
            and isinstance(runner.train_loop, IterBasedTrainLoop)
        ):
            raise ConfigError(
                f'a warm-up of {self.warmup} epochs never ends in a training that '
                'counts iterations: set default_hooks.alternate.by_epoch=False and '
                'default_hooks.alternate.warmup to iterations'
            )
        model: SR4IR = unwrap(runner.model)
        recipe = model.recipe
        length = runner.max_epochs if self.by_epoch else runner.max_iters
        limits = {phase.during for phase in recipe}
        limits |= {term.during for phase in recipe for term in phase.losses}
        if self.warmup >= length and 'main' in limits:
            runner.logger.warning(
                f'The warm-up of {self.warmup} is as long as the whole training '
                f"({length}), so what the recipe has in stage 'main' never comes: "
                'lower default_hooks.alternate.warmup'
            )
        wrappers = runner.optim_wrapper
        names = set(wrappers.keys()) if isinstance(wrappers, OptimWrapperDict) else ()
        for phase in recipe:
            missing = set(phase.update) - set(names)
            if missing:
                raise ConfigError(
                    f'recipe phase {phase.name!r} updates {sorted(missing)}, which has '
                    'no optimizer: give optim_wrapper=dict(constructor='
                    "'mmsr4ir.PerNetworkOptimWrapperConstructor', sr=..., task=...)"
                )
            counts = {
                name: accumulative_counts(wrappers[name]) for name in phase.update
            }
            if len(set(counts.values())) > 1:  # one backward pass serves them all
                raise ConfigError(
                    f'recipe phase {phase.name!r} updates both networks with one loss, '
                    f'but accumulative_counts is {counts} in optim_wrapper: set both '
                    'to the same number'
                )
            # A network that another phase trains alone counts on by itself meanwhile.
            if (
                len(phase.update) > 1
                and max(counts.values()) > 1
                and any(set(other.update) != set(phase.update) for other in recipe)
            ):
                raise ConfigError(
                    f'recipe phase {phase.name!r} updates both networks with one loss '
                    'and another phase updates one alone, so they would accumulate '
                    'out of step: set accumulative_counts=1 in optim_wrapper'
                )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Set the stage, and log it where it changes."""
        done = runner.epoch if self.by_epoch else runner.iter
        stage = 'warmup' if done < self.warmup else 'main'
        model: SR4IR = unwrap(runner.model)
        if stage != self._logged_stage:
            self._logged_stage = stage
            unit = 'epoch' if self.by_epoch else 'iteration'
            losses = {
                phase.name: [term.name for term in phase.active_losses(stage)]
                for phase in active_phases(model.recipe, stage)
            }
            print_log(f'Stage {stage!r} from {unit} {done + 1} on: {losses}', 'current')
        model.stage = stage
