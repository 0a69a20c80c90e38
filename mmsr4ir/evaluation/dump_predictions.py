"""Write predictions to a file."""

from collections.abc import Sequence

from mmengine.evaluator import DumpResults


class DumpPredictions(DumpResults):
    """MMEngine's ``DumpResults`` without the images, which are no predictions.

    ``mmsr4ir.SR4IR`` hands HR, LR and SR images to the metrics with every sample; in
    a file of predictions they would take hundreds of times their space.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep everything of each sample except ``images``."""
        super().process(
            data_batch,
            [
                {key: value for key, value in sample.items() if key != 'images'}
                for sample in data_samples
            ],
        )
