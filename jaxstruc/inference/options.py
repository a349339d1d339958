"""What a user may ask of fits, and which candidates are listed. Without JAX or NumPy, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from jaxstruc.scattering.options import BodyName, SimulatedDistributionName

Parameter = Literal["scale", "stretch", "uiso", "delta1", "delta2", "qdamp", "qbroad"]
EnsembleName = Literal["auto", "none", "parametric", "free"]
SourceName = Literal["network", "library"]
SearchName = Literal["none", "quick", "full"]
ScreenName = Literal["classifier", "none"]
DistributionName = Literal[SimulatedDistributionName, "two", "free"]
BODIES: tuple[BodyName, ...] = get_args(BodyName)
DISTRIBUTIONS: tuple[DistributionName, ...] = get_args(DistributionName)
"""Of sizes: one size, one population, two Gaussian ones, or a smooth histogram."""


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


@dataclass(frozen=True)
class SizeOptions:
    """What sizes and shapes are fitted to small angles, and how."""

    body: tuple[BodyName, ...] = ()
    """Bodies that the particles may be; none: all. One holds it."""
    distribution: tuple[DistributionName, ...] = ()
    """Distributions of size; none: all."""
    flat: bool = True
    """A constant background is fitted."""
    power_law: float | None = None
    """A background that falls with this power of Q is fitted too, as 4."""
    absolute: bool = False
    """The data are on an absolute scale, in 1/cm where the file does not say: `scale` is the share of volume that the
    particles take, by the scattering length densities of --element or --sld and of --solvent."""
    sld: float | None = None
    """[10⁻⁶/Å²] Scattering length density of the particles [of --element, for X-rays]."""
    solvent: str = "vacuum"
    """What the particles are in: vacuum water methanol ethanol acetone chloroform hexane cyclohexane toluene, or a
    number in 10⁻⁶/Å²."""
