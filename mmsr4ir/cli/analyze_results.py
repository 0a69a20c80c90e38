"""Score each tested image by the task; draw the best and the worst."""

import argparse
import re
import sys
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.utils import ProgressBar

from mmsr4ir.analysis.results import (
    KINDS,
    best_and_worst,
    draw_result,
    kind_of,
    name_of,
    num_classes_of,
    score,
)
from mmsr4ir.compat.checkpoint import load_predictions
from mmsr4ir.engine.build import build_loader
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import image_path, write_json
from mmsr4ir.visualization.drawing import build_annotator, write_png

from .arguments import add_config_options, positive
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Scores are in [0, 1]. Detection: '
        f'{KINDS["pred_instances"]}; an image without objects has none. Segmentation: '
        f'{KINDS["pred_sem_seg"]}. Classification: {KINDS["pred_score"]}.',
    )
    parser.add_argument('config', help='config file that was tested')
    parser.add_argument(
        'results', type=Path, metavar='FILE.pkl', help='what tools/test.py --out wrote'
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FOLDER',
        help='folder for scores.json and the pictures in best/ and worst/',
    )
    parser.add_argument(
        '--topk',
        type=positive,
        default=10,
        metavar='N',
        help='how many of the best and of the worst to draw (default: %(default)s)',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='P',
        help='draw no box below this confidence (default: %(default)s)',
    )
    add_config_options(parser)
    return parser.parse_args()


def load_results(path: Path) -> list[dict]:
    """Read the predictions that ``tools/test.py --out`` wrote.

    Raises:
        DataError: If there is no such file, or if it cannot be read.
    """
    if not path.is_file():
        raise DataError(f'{path} does not exist')
    try:
        return load_predictions(path)
    except Exception as error:  # a broken pickle can raise nearly anything
        raise DataError(
            f'{path} cannot be read: {type(error).__name__}: {error}'
        ) from error


def check_same(results: list[dict], dataset: BaseDataset) -> None:
    """Check that the results are of these images in this order.

    Raises:
        ValueError: If the first or the last result is of another image.
    """
    for i in {0, len(results) - 1}:
        path = results[i].get('img_path')
        if path and Path(path).name != image_path(dataset, i).name:
            raise ValueError(
                f'image {i} of the results is {path}, that of the test '
                f'data {image_path(dataset, i)}: give the config that was '
                'tested'
            )


def remove_pictures(folder: Path) -> None:
    """Remove the pictures of an earlier call, whose names have other scores."""
    for path in folder.glob('*.png'):
        if re.match(r'\d{2,}_\d\.\d{3}_', path.name):
            path.unlink()


@command
def main() -> None:
    """Score all images; write the scores and the pictures."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    results = load_results(args.results)
    try:
        kind = kind_of(results, cfg.get('default_scope'))
    except ValueError as error:
        sys.exit(f'error: {args.results} for {args.config}: {error}')
    try:
        dataset: BaseDataset = build_loader(cfg, 'test').dataset
        if len(dataset) != len(results):
            sys.exit(
                f'error: {args.results} has {len(results)} images, the test data '
                f'of {args.config} {len(dataset)}: it is of another config'
            )
        check_same(results, dataset)
        annotator = build_annotator(cfg, dataset.metainfo, args.score_thr)
        classes = num_classes_of(cfg, results, dataset)
        ignored = getattr(dataset, 'ignore_index', 255)
        scores = [score(one, classes, ignored) for one in results]
        best, worst = best_and_worst(scores, args.topk)
        counted = [one for one in scores if one is not None]
        mean = sum(counted) / len(counted) if counted else None
        images = [
            dict(index=i, path=result.get('img_path'), score=one)
            for i, (result, one) in enumerate(zip(results, scores, strict=True))
        ]
        write_json(
            args.out / 'scores.json', dict(score=KINDS[kind], mean=mean, images=images)
        )
        for folder in ('best', 'worst'):
            remove_pictures(args.out / folder)
        drawn = len(best) + len(worst)
        bar = ProgressBar(drawn) if drawn else None
        for folder, chosen in (('best', best), ('worst', worst)):
            for place, i in enumerate(chosen):
                name = f'{name_of(results[i], i)}'
                picture = draw_result(
                    results[i], i, dataset, annotator, f'score {scores[i]:.3f}  {name}'
                )
                write_png(
                    args.out / folder / f'{place:02d}_{scores[i]:.3f}_{name}.png',
                    picture,
                )
                if bar:
                    bar.update()
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    shown = 'none' if mean is None else f'{mean:.4f}'
    print(f'\n{KINDS[kind]}: mean {shown} over {len(counted)} of {len(results)} images')
    print(
        f'{args.out / "scores.json"}, {len(best)} best and {len(worst)} worst images '
        'written'
    )
