"""Images that one method gets right and another wrong, drawn side by side."""

import copy
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsr4ir.engine.build import build_loader
from mmsr4ir.utils.files import write_json, write_whole

from .methods import Part
from .pictures import stack_pictures
from .resampling import flips, same_images
from .runner import last_line, read_json, tool_command
from .testing import PANELS, load_record


def draw_flips(plain: Part, sr: Part, out: Path, count: int) -> list[str]:
    """Draw the images where SR makes a wrong answer right, and the reverse.

    Args:
        plain: The best method without an SR network, tested.
        sr: The best one with an SR network, tested with the same seed.
        out: Folder of the comparison; the pictures go to ``flips/gained`` and
            ``flips/lost`` in it, those of an earlier start are removed.
        count: How many images of each kind at most.

    Returns:
        list[str]: What was drawn, and what was not and why, in lines.
    """
    folder = out / 'flips'
    runs = [read_json(part.folder / 'trained.json').get('run') for part in (plain, sr)]
    done = dict(runs=runs, images=count)
    earlier = read_json(folder / 'drawn.json')
    if earlier.get('done') == done:
        return earlier['lines']
    shutil.rmtree(folder, ignore_errors=True)
    before, after = load_record(plain), load_record(sr)
    if before is None or after is None or not same_images([before, after]):
        return ['No images are compared: the tests kept no records of the same images.']
    images = before['images']
    lines, failed = [], False
    for kind, chosen in zip(
        ('gained', 'lost'), flips(before, after, count), strict=True
    ):
        names = ', '.join(images[index]['name'] for index in chosen)
        text = {
            'gained': f'right or better with {sr.info.title} than with '
            f'{plain.info.title}',
            'lost': f'wrong or worse with {sr.info.title} than with {plain.info.title}',
        }[kind]
        if not chosen:
            lines.append(f'No image is {text}.')
            continue
        # A record of COCO has the order of its file; others have that of the data set.
        ids = [images[index].get('id') for index in chosen]
        where = dict(ids=ids) if None not in ids else dict(indices=chosen)
        reason = _draw((plain, sr), folder / kind, **where)
        failed |= reason is not None
        lines.append(
            f'Not drawn ({reason}): {names}, {text}.'
            if reason
            else f'`flips/{kind}`: {text}: {names}.'
        )
    if not failed:  # else the next start tries again
        write_json(folder / 'drawn.json', dict(done=done, lines=lines))
    return lines


def _draw(
    parts: Sequence[Part],
    folder: Path,
    indices: Sequence[int] = (),
    ids: Sequence[int] = (),
) -> str | None:
    """Test both parts on these images alone; return why that failed, or None."""
    if ids:
        dataset: Any = build_loader(copy.deepcopy(parts[0].cfg), 'test').dataset
        indices = [
            index
            for index in range(len(dataset))
            if dataset.get_data_info(index).get('img_id') in ids
        ]
    rows = {}
    for part in parts:
        work = folder / part.method
        cfg = _config_of(part, sorted(indices))
        write_whole(work / 'config.py', cfg.pretty_text)
        log = work / 'test.log'
        with log.open('w') as file:
            command = tool_command(
                'test',
                work / 'config.py',
                work,
                '--show-dir',
                str(work / 'pictures'),
                checkpoint=part.checkpoint,
            )
            code = subprocess.call(command, stdout=file, stderr=subprocess.STDOUT)
        if code:
            return last_line(log)
        rows[part.info.title] = work / 'pictures'
    for name, picture in stack_pictures(rows, len(PANELS)):
        write_whole(folder / name, picture)
    for part in parts:
        shutil.rmtree(folder / part.method)
    return None


def _config_of(part: Part, indices: Sequence[int]) -> Config:
    """Return a part's config for a test of some images alone."""
    cfg = copy.deepcopy(part.cfg)
    dataset = cfg.test_dataloader.dataset
    own = dataset.get('indices')  # of a test on a part of the images
    if isinstance(own, int):  # the first ones, or with a negative number the last
        indices = [min(own, 0) + index for index in indices]
    elif own is not None:
        indices = [own[index] for index in indices]
    dataset.indices = list(indices)
    cfg.default_hooks.picture_grid.update(panels=PANELS, max_images=len(indices))
    return cfg
