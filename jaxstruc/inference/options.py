"""What a user may ask of fits, and which candidates are listed. Without JAX or NumPy, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Parameter = Literal["scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad"]
EnsembleName = Literal["auto", "none", "parametric", "free"]
SourceName = Literal["network", "library"]
SearchName = Literal["none", "quick", "full"]


@dataclass(frozen=True)
class FitOptions:
    """How candidates are fitted."""

    free: tuple[Parameter, ...] = ("scale", "stretch", "uiso", "delta2")
    """What is fitted for the best candidates; the usual four for all. The rest is held."""
    background: int = 0
    """Smooth terms of a background under G(r)."""
    absolute: bool = False
    """The data are on an absolute scale: `scale` is 1 exactly."""


@dataclass(frozen=True)
class LibraryOptions:
    """Which clusters are listed as candidates."""

    families: tuple[str, ...] = ()
    """Families of candidates: icosahedron decahedron octahedron fcc bcc sc hcp twin fault; none: all."""
    max_atoms: int = 1000
    """Most atoms of a candidate; up to 1500."""
    library: tuple[Path, ...] = ()
    """Your own structures in place of the families: files that ASE reads, or folders of them."""


@dataclass(frozen=True)
class RelaxOptions:
    """Whether atoms may move."""

    coordinates: bool = False
    """Then move the atoms too, held back to where they are by `restraint`."""
    restraint: float = 0.1
    """[Å] How far an atom may move before it costs as much as the noise."""
