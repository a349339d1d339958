"""What a user may say of measured data. Without NumPy, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxstruc.scattering.parameters import PARAMETERS, said


def option(name: str, more: str = "", *, otherwise: str = ""):
    """Return how the command line shows an optional number of the table of parameters, with the table's default."""
    default = PARAMETERS[name].default
    known = "" if default is None else f" [{default:g}{otherwise}]"
    return tyro.conf.arg(help=said(name, more) + known, metavar="FLOAT", help_behavior_hint="")


QUnit = Literal["1/Å", "1/A", "1/nm", "2theta"]
"""Of a file's axis; 2theta in degrees."""
Kind = Literal["gr", "iq", "sq", "fq"]
"""Of a curve: G(r), I(Q), S(Q), or F(Q) = Q(S-1)."""
AxisUnit = Annotated[
    QUnit | None,
    tyro.conf.arg(
        help="Unit of a file's Q, where it does not say it itself; 2theta in degrees, with --wavelength.",
        metavar="{1/Å,1/A,1/nm,2theta}",
        help_behavior_hint="",
    ),
]
Wavelength = Annotated[float | None, option("wavelength", "Where the axis is 2theta.")]


@dataclass(frozen=True)
class DataOptions:
    """Settings of measured data. They override the header; where neither says, the default in brackets holds."""

    qmin: Annotated[float | None, option("qmin", "Of the data.")] = None
    qmax: Annotated[float | None, option("qmax", "Of the data.")] = None
    qdamp: Annotated[float | None, option("qdamp", "Held, or to start from.")] = None
    qbroad: Annotated[float | None, option("qbroad", "Held, or to start from.")] = None
    rmin: Annotated[float | None, option("rmin", "Of the fit and of Rw.")] = None
    rmax: Annotated[float | None, option("rmax", "Of the fit and of Rw.", otherwise=", or the data's end")] = None


@dataclass(frozen=True)
class CurveOptions:
    """What a file over Q is, where it does not say it itself. A .gr needs none of this."""

    q_unit: AxisUnit = None
    wavelength: Wavelength = None
    kind: Annotated[
        Literal["gr", "sq", "fq"] | None,
        tyro.conf.arg(
            help="G(r), S(Q), or F(Q) = Q(S-1) [as the file says].", metavar="{gr,sq,fq}", help_behavior_hint=""
        ),
    ] = None


@dataclass(frozen=True)
class QOptions:
    """Settings of measured I(Q)."""

    q_unit: AxisUnit = None
    wavelength: Wavelength = None
    qmin: Annotated[float | None, option("qmin", "Of the fit [the data's].")] = None
    qmax: Annotated[float | None, option("qmax", "Of the fit [the data's].")] = None
    frame: Annotated[
        int | None,
        tyro.conf.arg(
            help="Which of a file's curves, counted from 1, where it holds several.",
            metavar="INT",
            help_behavior_hint="",
        ),
    ] = None
    background: Annotated[
        Path | None,
        tyro.conf.arg(
            help="Measured I(Q) of the solvent and the cell, subtracted with its errors.",
            metavar="PATH",
            help_behavior_hint="",
        ),
    ] = None
    background_scale: Annotated[float, tyro.conf.arg(help=said("background_scale"))] = 1.0
