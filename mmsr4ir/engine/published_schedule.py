"""The learning rates of the published trainings, iteration by iteration."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF

from mmsr4ir.registry import PARAM_SCHEDULERS
from mmsr4ir.utils.errors import ConfigError


@PARAM_SCHEDULERS.register_module()
class RampCosineRestartLR(LRSchedulerMixin, _ParamScheduler):
    """A linear ramp, then cosines that restart, as the authors of SR4IR train.

    MMEngine's ``LinearLR`` and ``CosineRestartLR`` in a row differ by one iteration: in
    the published code the ramp reaches the full rate with the first iteration after it,
    and the first iteration after a period still has that period's minimum.

    Args:
        optimizer, end, last_step, verbose: As of MMEngine's schedulers.
        periods: Length of each cosine; in epochs with ``convert_to_iter_based=True``,
            else in iterations. After the last, the rate stays.
        eta_min: Rate at the end of each period.
        ramp: Length of the ramp, which starts at the full rate divided by the number of
            its iterations.
        by_epoch: Must be False once the scheduler is built.

    Raises:
        ConfigError: If ``by_epoch`` is True and ``convert_to_iter_based`` is not.
    """

    def __init__(
        self,
        optimizer: Any,
        periods: Sequence[int],
        eta_min: float,
        ramp: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if by_epoch:
            raise ConfigError(
                'mmsr4ir.RampCosineRestartLR changes the rate with each iteration: set '
                'convert_to_iter_based=True, or by_epoch=False and give iterations'
            )
        self.periods = list(periods)
        self.eta_min = eta_min
        self.ramp = ramp
        super().__init__(
            optimizer, end=end, last_step=last_step, by_epoch=by_epoch, verbose=verbose
        )

    @classmethod
    def build_iter_from_epoch(
        cls,
        optimizer: Any,
        *,
        periods: Sequence[int],
        epoch_length: int,
        ramp: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        **options,
    ) -> 'RampCosineRestartLR':
        """Build it from lengths in epochs."""
        return cls(
            optimizer,
            periods=[epoch_length * period for period in periods],
            ramp=epoch_length * ramp,
            end=min(epoch_length * end, INF),
            by_epoch=False,
            **options,
        )

    def _get_value(self) -> list[float]:
        step = self.last_step
        if step < self.ramp:
            start = 1 / self.ramp
            factor = start + (1 - start) * step / self.ramp
            return [base * factor for base in self.base_values]
        step = min(step - self.ramp, sum(self.periods))
        ends = list(itertools.accumulate(self.periods))
        place = next(i for i, end in enumerate(ends) if step <= end)
        period = self.periods[place]
        cosine = math.cos(math.pi * (step - ends[place] + period) / period)
        return [
            self.eta_min + 0.5 * (base - self.eta_min) * (1 + cosine)
            for base in self.base_values
        ]
