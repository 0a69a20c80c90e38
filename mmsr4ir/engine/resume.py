"""Which checkpoint a run continues from."""

import os
import re
import zipfile
import zlib
from pathlib import Path

from mmsr4ir.utils.errors import SR4IRError


class ResumeError(SR4IRError, RuntimeError):
    """The checkpoint to continue from is damaged or missing."""


def resume_point(work_dir: str, wish: str) -> str | None:
    """Find the checkpoint to continue from, and check that it is whole.

    The last checkpoint is the one written last. MMEngine's ``last_checkpoint`` alone
    does not tell it: that file is written after the checkpoint, and a run may die
    between.

    Args:
        work_dir: The run's folder.
        wish: ``'auto'`` for the last checkpoint, ``'previous'`` for the last whole one
            before it, or a path or URL.

    Returns:
        str | None: Its path; None for ``'auto'`` where nothing was written yet.

    Raises:
        ResumeError: If the checkpoint is damaged or does not exist; the message names
            it and the whole one before it.
    """
    if wish not in ('auto', 'previous'):
        if '://' in wish:
            return wish
        if not Path(wish).is_file():
            raise ResumeError(f'checkpoint {wish!r} does not exist or is no file')
        if not is_whole(wish):
            raise ResumeError(damaged(wish, checkpoints(Path(wish).parent)))
        return wish
    found = checkpoints(last_folder(Path(work_dir)))
    named = os.path.basename(last_checkpoint(Path(work_dir)))
    if found and _is_before(found[-1].name, named):
        # The note says that the last one is another: times may be those of a copy.
        found.sort(key=lambda path: path.name == named)
    if wish == 'previous':
        for path in reversed(found[:-1]):
            if is_whole(path):
                return str(path)
        raise ResumeError(f'{work_dir} has no whole checkpoint before the last one')
    if found and not is_whole(found[-1]):
        raise ResumeError(damaged(found[-1], found))
    return str(found[-1]) if found else None


def last_folder(work_dir: Path) -> Path:
    """Return where a run's checkpoints are, which ``CheckpointHook.out_dir`` may set.

    In a copy of a work dir the note names the original, which is now of another run.
    """
    folder, name = os.path.split(last_checkpoint(work_dir))
    if os.path.isdir(folder) and not (name and os.path.isfile(work_dir / name)):
        return Path(folder)
    return work_dir


def _is_before(name: str, other: str) -> bool:
    """Return whether a checkpoint is of an earlier epoch or iteration than another."""
    one, two = (
        re.fullmatch(r'(epoch|iter)_(\d+)\.pth', text) for text in (name, other)
    )
    return bool(one and two and one[1] == two[1] and int(one[2]) < int(two[2]))


def last_checkpoint(work_dir: Path) -> str:
    """Return what MMEngine's note of the last checkpoint says; empty without a note.

    A run may have died while it wrote the note, so that anything can stand there.
    """
    note = work_dir / 'last_checkpoint'
    return note.read_text(errors='replace').strip() if note.is_file() else ''


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run in the order in which they were written."""
    return sorted(
        (
            path
            for path in folder.glob('*.pth')
            if re.fullmatch(r'(epoch|iter)_\d+\.pth', path.name)
        ),
        key=lambda path: path.stat().st_mtime_ns,
    )


def is_whole(path: str | Path) -> bool:
    """Read a checkpoint through, and compare its parts with their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ):  # what a damaged header can look like
        return False


def damaged(path: str | Path, found: list[Path]) -> str:
    """Return the message for a damaged checkpoint."""
    whole = [other for other in found if other != Path(path) and is_whole(other)]
    return f'checkpoint {path} is truncated or damaged. ' + (
        f'To go on from the one before it: --resume {whole[-1]} (or --resume '
        'previous, if it was the last)'
        if whole
        else 'There is no whole one beside it'
    )
