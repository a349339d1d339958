r"""Particles that are relaxed with the EMT potential of ASE, and their thermal motion.

A cluster of one metal is relaxed in vacuum with the effective medium theory (EMT; K. W. Jacobsen, P. Stoltze,
J. K. Nørskov, Surf. Sci. 366, 394, 1996, doi 10.1016/0039-6028(96)00816-3). The relaxation starts from the ideal
positions. Rotation and uniform scale of the relaxed positions x relative to the ideal positions y are then removed:

$$u_i = Q x_i - s y_i,$$

with the rotation Q and the scale s that minimise $\sum_i |u_i|^2$ (W. Kabsch, Acta Cryst. A 32, 922, 1976,
doi 10.1107/S0567739476001873). The displacements u are the strain of the particle. A relaxed particle is accepted if
its atoms still show the structure type of the ideal cluster, and if no atom left its site.

A relaxation keeps the symmetry of the cluster, so that it may end at a saddle point of the energy. `is_minimum` finds
out whether a particle returns to its positions after random displacements. Structures are cached in a folder outside
the repository, because their computation takes longer than that of the curves.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.optimize import LBFGS

from jaxstruc import files
from jaxstruc.clusters import structure_type
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.scattering import form_factors

METALS = ("Ni", "Cu", "Pd", "Ag", "Pt", "Au")
MAX_FORCE = 0.01
"""Largest force on an atom at which a relaxation stops, in eV/Å."""
MAX_STEPS = 150
"""Maximum number of steps of a relaxation. Stable particles need 10 to 50 steps. A particle that needs more than the
maximum is rejected."""
MAX_DISPLACEMENT = 0.3
"""Largest displacement of an atom that stays on its site, in units of the bond length. In stable particles the
displacements are below 0.2, and atoms that change their sites move by 0.4 and more."""
RATTLE = 0.03
"""Standard deviation of the coordinates that are displaced to find out whether a particle is stable, in Å."""
TIME_STEP, FRICTION = 5.0, 0.02
"""Step of the dynamics in fs, and friction of the thermostat in 1/fs."""
EQUILIBRATION_STEPS, FRAME_STEPS = 600, 20
"""Number of steps before the first frame, and number of steps from one frame to the next."""
CACHE_VERSION = 3
"""Version of the rules and constants in this module. Cached files of other versions are not read."""


class RelaxedParticle(NamedTuple):
    """A particle with its ideal positions and the displacements of its atoms."""

    cluster: Cluster
    """Ideal cluster with bond length 1."""
    metal: str
    type: str
    """Structure type that the ideal and the relaxed atoms show."""
    hexagonal: float
    """Share of hexagonal layers among the inner layers. It is NaN without close-packed layers."""
    bond: float
    """Bond length of the ideal cluster that is most similar to the relaxed particle, in Å."""
    displacement: np.ndarray
    """Displacements of the relaxed atoms from that ideal cluster [atom, 3], in Å."""

    def positions(self, amplitude: float = 1.0) -> np.ndarray:
        """Return the positions in Å for an amplitude of the displacements. A rigid cluster has amplitude 0."""
        return self.bond * self.cluster.positions + amplitude * self.displacement


def relax_cluster(cluster: Cluster, metal: str, cache: Path | None) -> RelaxedParticle | str:
    """Return a relaxed particle, or the reason why it is rejected.

    Args:
        cluster: Ideal cluster.
        metal: Element of the particle.
        cache: Folder of the cache, or None.
    """
    ideal_type = structure_type.identify_structure_type(cluster.positions)
    if not ideal_type.shows_type:
        return "the ideal atoms show no type"
    positions = _cached_array(
        cache,
        f"relaxed-{metal}",
        cluster.positions,
        lambda: relax_atoms(cluster.to_ase(metal, form_factors.bond_length(metal))),
    )
    if not len(positions):
        return "the relaxation does not converge"
    bond, displacement = superpose(positions, cluster.positions)
    particle = RelaxedParticle(cluster, metal, ideal_type.name, ideal_type.hexagonal_share, bond, displacement)
    relaxed_type = structure_type.identify_structure_type(positions)
    if relaxed_type.name != ideal_type.name or not relaxed_type.shows_type:
        return "the relaxed atoms show another type" if relaxed_type.name else "the relaxed atoms show no type"
    return particle if atoms_stay(displacement, bond) else "atoms leave their sites"


def atoms_stay(displacement: np.ndarray, bond: float) -> bool:
    """Return whether all atoms stay on their sites. Displacements [atom, 3] and bond length are in Å."""
    return bool(np.linalg.norm(displacement, axis=1).max() <= MAX_DISPLACEMENT * bond)


def superpose(positions: np.ndarray, reference: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the scale of the reference, and the displacements from it after the best rotation and shift.

    Args:
        positions: Positions [atom, 3], in Å.
        reference: Positions of the same atoms [atom, 3], in any unit. Their mean must be 0.
    """
    offsets = positions - positions.mean(axis=0)
    left, _, right = np.linalg.svd(offsets.T @ reference)
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    offsets = offsets @ left @ right
    scale = float((offsets * reference).sum() / (reference**2).sum())
    return scale, offsets - scale * reference


def is_minimum(particle: RelaxedParticle, cache: Path | None) -> bool:
    """Return whether a particle returns to its positions if its atoms are displaced at random and relaxed again."""
    relaxed = particle.positions()

    def relax_again() -> np.ndarray:
        rattled = relaxed + np.random.default_rng(0).normal(scale=RATTLE, size=relaxed.shape)
        return relax_atoms(Atoms([particle.metal] * len(rattled), rattled))

    positions = _cached_array(cache, f"rattled-{particle.metal}", particle.cluster.positions, relax_again)
    return len(positions) > 0 and atoms_stay(superpose(positions, relaxed)[1], 0.5 * particle.bond)


def relax_atoms(atoms: Atoms) -> np.ndarray:
    """Return the relaxed positions of atoms in Å. They are empty if the relaxation does not converge."""
    atoms.calc = EMT()
    return atoms.positions if LBFGS(atoms, logfile=None).run(fmax=MAX_FORCE, steps=MAX_STEPS) else np.zeros((0, 3))


def thermal_frames(particle: RelaxedParticle, temperature: float, n_frames: int, cache: Path | None) -> np.ndarray:
    """Return positions of a particle at a temperature from Langevin dynamics [frame, atom, 3], in Å.

    Args:
        particle: Particle from whose relaxed positions the dynamics start.
        temperature: Temperature in K.
        n_frames: Number of frames after the equilibration.
        cache: Folder of the cache, or None.
    """

    def run_dynamics() -> np.ndarray:
        rng = np.random.default_rng(0)
        positions = particle.positions()
        atoms = Atoms([particle.metal] * len(positions), positions, calculator=EMT())
        spread = np.sqrt(atoms.get_masses() * units.kB * temperature)
        atoms.set_momenta(spread[:, None] * rng.normal(size=positions.shape))
        settings = {"temperature_K": temperature, "friction": FRICTION / units.fs, "fixcm": False, "rng": rng}
        dynamics = Langevin(atoms, TIME_STEP * units.fs, **settings)
        dynamics.run(EQUILIBRATION_STEPS)
        frames = []
        for _ in range(n_frames):
            dynamics.run(FRAME_STEPS)
            frames.append(atoms.positions.astype(np.float32))
        return np.array(frames)

    name = f"frames-{particle.metal}-{temperature:g}K-{n_frames}"
    return _cached_array(cache, name, particle.cluster.positions, run_dynamics).astype(float)


def mean_displacement(frames: np.ndarray, particle: RelaxedParticle) -> tuple[np.ndarray, float]:
    """Return the mean displacement of each atom from its relaxed position [atom, 3] in Å, and the mean Uiso in Å².

    Each frame is superposed on the relaxed particle without a change of scale, because the particle may turn.
    """
    relaxed = particle.positions()
    displacements = []
    for frame in frames:
        scale, displacement = superpose(frame, relaxed)
        displacements.append(displacement + (scale - 1) * relaxed)
    return np.mean(displacements, axis=0), float(np.var(displacements, axis=0).mean())


def _cached_array(
    folder: Path | None, name: str, ideal_positions: np.ndarray, compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """Return an array from the cache, or compute it and write it to the cache."""
    if folder is None:
        return compute()
    content = f"{CACHE_VERSION} {name}".encode() + np.round(ideal_positions, 5).tobytes()
    path = folder / f"{name}-{len(ideal_positions)}-{hashlib.sha256(content).hexdigest()[:16]}.npy"
    if path.exists():
        return np.load(path)
    array = compute()
    with files.atomic_replacement(path) as temporary_path, temporary_path.open("wb") as stream:
        np.save(stream, array)
    return array
