"""Arguments of the commands for many files of one experiment: `watch` and `series`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxstruc.options.validation import COUNT, Options, Out, Unset

WatchedCommandName = Literal["classify", "mine", "solve", "saxs"]
PDF_PATTERNS = ("*.gr", "*.sq", "*.fq")
"""Names of the files that `watch` takes for the commands for PDFs."""
SAXS_PATTERNS = ("*.dat", "*.chi", "*.iq", "*.xye", "*.abs", "*.ABS", "*.xml", "*.h5", "*.nxs", "*.csv", "*.txt")
"""Names of the files that `watch` takes for `saxs`."""


@dataclass(frozen=True)
class WatchOptions(Options):
    """Files that are taken, and the end of the run."""

    with_: Annotated[
        WatchedCommandName,
        tyro.conf.arg(
            name="with",
            help="Command that analyses each file. Its own options may follow, e.g. --with mine --qmin 1 --qmax 25.",
        ),
    ] = "classify"
    until: Annotated[
        int | None,
        tyro.conf.arg(
            help="Number of files after which the command ends. Without it the command ends with ctrl-c.",
            help_behavior_hint="",
        ),
        COUNT,
    ] = None
    pattern: Annotated[tuple[str, ...], Unset] = ()
    """Names of the files that are taken, e.g. '*.dat', by default those of PDFs or of I(Q)."""

    def patterns(self, kind: str | None) -> tuple[str, ...]:
        """Return the names of the files that are taken, for a kind of curves that the command is told to read."""
        return self.pattern or (SAXS_PATTERNS if self.with_ == "saxs" or kind == "iq" else PDF_PATTERNS)


@dataclass(frozen=True)
class WatchCommand:
    """Analyse the files of a folder while they are measured, and keep the table and the page up to date.

    A file is taken once it is whole, i.e. once its size and the time of its last change stand still. The library and
    compiled programs stay in memory. A run that is started again continues where the last one ended.

    Example: jaxstruc watch measured/ --element Pt -o out/ --with mine --until 200
    """

    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")]]
    """Folder into which the measured files are written. It is the first argument."""
    out: Out
    """Folder for the results."""
    element: Annotated[str, Unset] = ""
    """Element of the sample, e.g. Pt. PDFs need it."""
    options: Annotated[WatchOptions, tyro.conf.arg(name="")] = WatchOptions()


@dataclass(frozen=True)
class SeriesOptions(Options):
    """Quantity by which the curves are ordered."""

    x_from: Annotated[
        str,
        tyro.conf.arg(
            help="Quantity by which the curves are ordered, e.g. temperature. Its values come from --metadata, "
            "--name-pattern, or the headers of the measured files. order: the order of the rows."
        ),
    ] = "order"
    metadata: Annotated[
        Path | None,
        tyro.conf.arg(
            help="Table (.csv) with the names of the measured files in the column file, and a column with the name of "
            "the quantity.",
            help_behavior_hint="",
        ),
    ] = None
    name_pattern: Annotated[
        str | None,
        tyro.conf.arg(
            help="Text in the names of the files, or in the labels of the curves of a file, in which {} stands for the "
            "number, e.g. '_{}K'.",
            help_behavior_hint="",
        ),
    ] = None

    def check_together(self) -> None:
        """Check that there is one source of the values, and that a pattern has a place for the number."""
        if self.name_pattern is not None and self.name_pattern.count("{}") != 1:
            raise ValueError(f"Expected {{}} once in --name-pattern, got {self.name_pattern!r}; pass e.g. '_{{}}K'.")
        if self.name_pattern is not None and self.metadata is not None:
            raise ValueError("Expected --name-pattern or --metadata, got both; drop one of them.")
        if self.x_from == "order" and (self.name_pattern or self.metadata):
            raise ValueError("Expected --x-from with the name of the quantity, got none; pass e.g. temperature.")


@dataclass(frozen=True)
class SeriesCommand:
    """Show the results of many curves against temperature, time or another quantity, with change points.

    Example: jaxstruc series out/ --x-from temperature --name-pattern '_{}K'
    """

    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT", help_behavior_hint="")]]
    """Folder of the results, i.e. --out of an earlier command."""
    options: Annotated[SeriesOptions, tyro.conf.arg(name="")] = SeriesOptions()
