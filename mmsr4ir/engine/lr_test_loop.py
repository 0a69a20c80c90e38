"""Test on images that are LR already."""

from mmengine.dataset import Compose
from mmengine.runner import TestLoop

from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.prediction.lr_input import LRInput
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import LOOPS
from mmsr4ir.utils.errors import ConfigError


@LOOPS.register_module()
class LRTestLoop(TestLoop):
    """Test on genuine LR images: they are restored as they are, nothing is degraded.

    In a config:

    .. code-block:: python

        test_cfg = dict(type='mmsr4ir.LRTestLoop', coordinates='lr')

    The data set's images are the LR ones; its labels are measured in the pixels of
    these (``'lr'``), or of HR images ``scale`` times as large (``'sr'``). There is no
    HR image, so ``SRQuality`` has only NIQE.

    Args:
        runner, dataloader, evaluator, fp16: As for :class:`mmengine.runner.TestLoop`.
        coordinates, tile, overlap: See
            :class:`~mmsr4ir.models.prediction.lr_input.LRInput`.

    Raises:
        ConfigError: If the pipeline would change the size of the LR images, or a
            setting is impossible.
    """

    def __init__(
        self,
        runner,
        dataloader,
        evaluator,
        fp16: bool = False,
        coordinates: str = 'lr',
        tile: int | None = None,
        overlap: int = 32,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.lr_input = LRInput(coordinates, tile, overlap)
        check_pipeline(getattr(self.dataloader.dataset, 'pipeline', None))

    def run(self) -> dict[str, float]:
        """Test; the model then takes HR images again."""
        model: SR4IR = unwrap(self.runner.model)
        model.lr_input = self.lr_input
        try:
            return super().run()
        finally:
            model.lr_input = None


def check_pipeline(pipeline: Compose | None) -> None:
    """Check that LR images reach the model in their own size.

    Raises:
        ConfigError: If a transform of the pipeline resizes or crops.
    """
    changing = [
        type(transform).__name__
        for transform in getattr(pipeline, 'transforms', ())
        if any(word in type(transform).__name__ for word in ('Resize', 'Crop'))
    ]
    if changing:
        raise ConfigError(
            f'the pipeline of test_dataloader has {changing}, but LR images are to be '
            'restored as they are: take them out of it for a test with LRTestLoop'
        )
