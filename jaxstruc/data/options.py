"""What a user may say of measured data. Without NumPy, so that `--help` is quick."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxstruc.scattering.parameters import PARAMETERS, said


def option(name: str, more: str = "", *, otherwise: str = ""):
    """Return how the command line shows an optional number of the table of parameters, with the table's default."""
    default = PARAMETERS[name].default
    known = "" if default is None else f" [{default:g}{otherwise}]"
    return tyro.conf.arg(help=said(name, more) + known, metavar="FLOAT", help_behavior_hint="")


@dataclass(frozen=True)
class DataOptions:
    """Settings of measured data. They override the header; where neither says, the default in brackets holds."""

    qmin: Annotated[float | None, option("qmin", "Of the data.")] = None
    qmax: Annotated[float | None, option("qmax", "Of the data.")] = None
    qdamp: Annotated[float | None, option("qdamp", "Held, or to start from.")] = None
    qbroad: Annotated[float | None, option("qbroad", "Held, or to start from.")] = None
    rmin: Annotated[float | None, option("rmin", "Of the fit and of Rw.")] = None
    rmax: Annotated[float | None, option("rmax", "Of the fit and of Rw.", otherwise=", or the data's end")] = None
