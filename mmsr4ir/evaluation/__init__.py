"""Metrics."""

from .dump_predictions import DumpPredictions
from .image_record import ImageRecord
from .sr_quality import SRQuality
from .teacher_distance import TeacherDistance

__all__ = ['DumpPredictions', 'ImageRecord', 'SRQuality', 'TeacherDistance']
