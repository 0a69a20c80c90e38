"""What a check of data finds, and how it is told."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.tables import plain_table

from .images import Scan

_SHOWN = 5  # problems that one line names


@dataclass(frozen=True)
class Problem:
    """One thing that a check found.

    Args:
        file: The file, folder or part of the config that it is about.
        cause: What is wrong, in words that follow the file and the entry.
        fix: What to do about it.
        entry: The part of the file, such as ``'annotation 7'``.
        severity: ``'error'`` stops a run, because it would fail or learn something
            wrong; of a ``'warning'`` the libraries make something, silently; a
            ``'note'`` is harmless.
    """

    file: str
    cause: str
    fix: str = ''
    entry: str = ''
    severity: str = 'error'

    @property
    def what(self) -> str:
        """The problem in one line, without the fix."""
        where = f'{self.file}: {self.entry}' if self.entry else self.file
        return f'{where} {self.cause}'.strip()

    def __str__(self) -> str:
        return self.what + (f': {self.fix}' if self.fix else '')


@dataclass
class Report:
    """What was found in one data set.

    Args:
        name: Its name, such as ``'train'``.
        classes: Class names in the order of their numbers; None if nobody says.
        unit: What ``amounts`` counts: ``'images'``, ``'objects'`` or ``'pixels'``.
        kinds: The paths of all images, by their kinds, such as ``'RGB'``.
        images_of: Images that have a class, by its name.
        amounts: Units of each class, by its name.
        problems: All that was found, notes as well.
    """

    name: str
    classes: Sequence[str] | None = None
    unit: str = 'images'
    kinds: dict[str, list[str]] = field(default_factory=dict)
    images_of: Counter = field(default_factory=Counter)
    amounts: Counter = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def error(self, file, cause: str, fix: str = '', entry: str = '') -> None:
        """Add a problem that ends a run."""
        self.problems.append(Problem(str(file), cause, fix, entry))

    def warn(self, file, cause: str, fix: str = '', entry: str = '') -> None:
        """Add a problem that a run goes on with."""
        self.problems.append(Problem(str(file), cause, fix, entry, 'warning'))

    def note(self, file, cause: str) -> None:
        """Add something that is worth knowing."""
        self.problems.append(Problem(str(file), cause, severity='note'))

    def found(self, *severities: str) -> list[Problem]:
        """Return the problems of some severities."""
        return [one for one in self.problems if one.severity in severities]

    def add_scan(self, scan: Scan) -> None:
        """Take in what was found in an image."""
        self.kinds.setdefault(scan.kind or 'unreadable', []).append(scan.path)
        if scan.problem:
            self.error(
                scan.path,
                scan.problem,
                'fetch the file again, or take it out of the data set',
            )
        for text in scan.notes:
            self.note(scan.path, text)

    def add_counts(self, amounts: dict[str, int]) -> None:
        """Take in the units of each class in one image."""
        self.amounts.update(amounts)
        self.images_of.update(amounts.keys())

    def name_of(self, label: int) -> str:
        """Return the name of a class, or its number as text."""
        return self.classes[label] if self.classes else str(label)

    def as_dict(self) -> dict:
        """Return the report as JSON has it; without names, classes are numbers."""
        names = self.classes or sorted(self.amounts, key=lambda n: (len(n), n))
        return dict(
            images=sum(map(len, self.kinds.values())),
            unit=self.unit,
            kinds={kind: len(paths) for kind, paths in self.kinds.items()},
            classes={
                name: {'images': self.images_of[name], self.unit: self.amounts[name]}
                for name in names
            },
            problems=list(map(asdict, self.found('error', 'warning'))),
            notes=list(map(asdict, self.found('note'))),
        )

    def lines(self) -> list[str]:
        """Return the counts, one class a line, and the notes, one text a line."""
        units = list(dict.fromkeys(['images', self.unit]))
        table = plain_table(
            ['class', *units],
            [
                (name, *(row[unit] for unit in units))
                for name, row in self.as_dict()['classes'].items()
            ],
        )
        notes: dict[str, list[str]] = {}
        for one in self.found('note'):
            notes.setdefault(one.cause, []).append(one.file)
        return table + [
            f'note: {first} {cause}' + f' (and {len(others)} more)' * bool(others)
            for cause, (first, *others) in notes.items()
        ]


def in_one_line(problems: Sequence[Problem]) -> str:
    """Say in one line what some problems are.

    Args:
        problems: One or more; the first few that have the fix of the first are named.
    """
    first, *others = problems
    if not others:
        return str(first)
    alike = [one.what for one in problems if one.fix == first.fix][:_SHOWN]
    more = len(problems) - len(alike)
    rest = f' ... (tools/misc/verify_dataset.py lists {more} more)' if more else ''
    return (
        f'{len(problems)} problems in the data: {"; ".join(alike)}{rest}. '
        f'{first.fix[:1].upper()}{first.fix[1:]}'
    )


def stop_on_errors(problems: Sequence[Problem]) -> None:
    """Raise an error that names what makes data unusable.

    Raises:
        DataError: If one of the problems is an error.
    """
    errors = [one for one in problems if one.severity == 'error']
    if errors:
        raise DataError(in_one_line(errors))
