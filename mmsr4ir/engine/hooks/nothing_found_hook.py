"""Go on after a validation in which the task network found nothing."""

from collections.abc import Iterator

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import Runner

from mmsr4ir.evaluation.sr_quality import SRQuality
from mmsr4ir.registry import HOOKS


@HOOKS.register_module()
class NothingFoundHook(Hook):
    """Give a metric that is missing because nothing was found the value 0.

    A detector that finds nothing, as early in a training from scratch, has no metrics:
    mmdet's evaluation returns an empty dict, for which MMEngine's hooks do nothing. But
    :class:`SRQuality` still reports its metrics. ``save_best`` and
    ``ReduceOnPlateauLR`` would then end the training, because the metric that they
    watch is missing, and ``save_best='auto'`` would watch PSNR from then on.

    This hook gives the metric that these two and early stopping watch the value 0, if
    more is better. If ``save_best='auto'`` knows no name yet, this hook removes all
    metrics, as in mmdet, and nothing is saved. The log has what was measured.
    """

    priority = 65  # after LoggerHook, before what watches metrics

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Complete ``metrics``, which the hooks after this one share."""
        all_metrics = runner.val_evaluator.metrics
        qualities = [each for each in all_metrics if isinstance(each, SRQuality)]
        prefixes = tuple(f'{each.prefix}/' for each in qualities)
        if (
            not metrics
            or len(qualities) == len(all_metrics)
            or not all(name.startswith(prefixes) for name in metrics)
        ):
            return
        watched = dict(_watched(runner))
        if 'auto' in watched:
            metrics.clear()
        for name, rule in watched.items():
            if name != 'auto' and rule != 'less':
                metrics.setdefault(name, 0.0)


def _watched(runner: Runner) -> Iterator[tuple[str, str | None]]:
    """Yield the metrics that something waits for, and whether more is better."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            rules = hook.rules or [None] * len(hook.key_indicators)
            yield from zip(hook.key_indicators, rules, strict=False)
        elif isinstance(hook, EarlyStoppingHook):
            yield hook.monitor, hook.rule
    schedulers = runner.param_schedulers or ()
    groups = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    for group in groups:
        for scheduler in group:
            if getattr(scheduler, 'need_val_args', False):
                yield scheduler.monitor, scheduler.rule
