"""Particles that are relaxed with EMT, their samples and dynamics, and the rows and tables of their answers."""

import dataclasses
import json

import measured_pdfs
import numpy as np
import pytest
import relaxed_particles
import relaxed_samples
import relaxed_structures
import unlisted_particles
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from relaxed_structures import RelaxedParticle
from scipy.spatial.distance import pdist

from jaxstruc.clusters import families, lattices
from jaxstruc.pdf.result import PdfResult
from jaxstruc.result import Candidate, Value
from jaxstruc.scattering import form_factors
from jaxstruc.statistics import Interval


def mackay_cluster(shells):
    return lattices.unit_bond_cluster("icosahedron", f"{shells} shells", Icosahedron("Au", shells + 1).positions)


@pytest.fixture(scope="module")
def gold():
    """Return a gold icosahedron of 55 atoms, relaxed with EMT."""
    return relaxed_structures.relax_cluster(mackay_cluster(2), "Au", None)


def test_displacements_have_no_rotation_and_no_scale():
    """The displacements u from y meet the conditions of a minimum: the sums of u·y and of y × u vanish."""
    rng = np.random.default_rng(0)
    reference = mackay_cluster(2).positions
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    scale, displacement = relaxed_structures.superpose(2.7 * reference @ rotation + 1.0, reference)
    assert scale == pytest.approx(2.7) and abs(displacement).max() < 1e-12
    displaced_positions = 2.7 * reference + 0.1 * rng.normal(size=reference.shape)
    scale, displacement = relaxed_structures.superpose(displaced_positions @ rotation, reference)
    assert abs((displacement * reference).sum()) < 1e-9
    assert abs(np.cross(reference, displacement).sum(axis=0)).max() < 1e-9
    np.testing.assert_allclose(pdist(scale * reference + displacement), pdist(displaced_positions))


def test_a_relaxed_icosahedron_has_no_forces_and_a_contracted_surface(gold):
    atoms = gold.cluster.to_ase("Au", 1.0)
    atoms.positions, atoms.calc = gold.positions(), EMT()
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < relaxed_structures.MAX_FORCE
    rigid = gold.cluster.to_ase("Au", gold.bond)
    rigid.calc = EMT()
    assert atoms.get_potential_energy() < rigid.get_potential_energy()
    assert gold.type == "icosahedron" and 0.95 < gold.bond / form_factors.bond_length("Au") < 1
    radii, ideal_radii = (np.linalg.norm(positions, axis=1) for positions in (atoms.positions, gold.cluster.positions))
    is_vertex, is_inside = ideal_radii > 0.99 * ideal_radii.max(), (ideal_radii > 0.1) & (ideal_radii < 1.2)
    assert is_vertex.sum() == is_inside.sum() == 12
    assert (radii[is_vertex] / ideal_radii[is_vertex]).max() < 0.99 * gold.bond
    assert (radii[is_inside] / ideal_radii[is_inside]).min() > gold.bond
    assert relaxed_structures.is_minimum(gold, None)
    np.testing.assert_allclose(gold.positions(0.5), (gold.positions() + gold.positions(0.0)) / 2)


def test_a_cluster_is_relaxed_once_and_then_read_from_the_cache(gold, tmp_path, monkeypatch):
    cluster = mackay_cluster(2)
    relaxed_structures.relax_cluster(cluster, "Au", tmp_path)
    monkeypatch.setattr(relaxed_structures, "relax_atoms", None)
    cached_particle = relaxed_structures.relax_cluster(cluster, "Au", tmp_path)
    np.testing.assert_allclose(cached_particle.displacement, gold.displacement, atol=1e-9)
    assert len(list(tmp_path.iterdir())) == 1


def test_bcc_particles_collapse_or_are_at_a_saddle_point():
    """The larger particle has the full symmetry of the lattice, so that its relaxation does not break the symmetry."""
    small_cluster, large_cluster = (next(families.FAMILIES["bcc"](n_atoms, n_atoms)) for n_atoms in (51, 59))
    assert relaxed_structures.relax_cluster(small_cluster, "Ni", None) == "the relaxed atoms show another type"
    saddle = relaxed_structures.relax_cluster(large_cluster, "Ni", None)
    assert saddle.type == "bcc" and not relaxed_structures.is_minimum(saddle, None)
    assert relaxed_structures.relax_cluster(mackay_cluster(1), "Ni", None) == "the ideal atoms show no type"


def test_thermal_motion_grows_with_the_temperature():
    """The classical harmonic Uiso is proportional to the temperature."""
    cluster = mackay_cluster(1)
    bond = 0.97 * form_factors.bond_length("Cu")
    particle = RelaxedParticle(cluster, "Cu", "icosahedron", np.nan, bond, np.zeros((13, 3)))
    uiso = []
    for temperature in (50.0, 300.0):
        frames = relaxed_structures.thermal_frames(particle, temperature, 20, None)
        displacement, mean_square = relaxed_structures.mean_displacement(frames, particle)
        assert frames.shape == (20, 13, 3) and relaxed_structures.atoms_stay(displacement, bond)
        uiso.append(mean_square)
    assert 2 < uiso[1] / uiso[0] < 18 and 0.002 < uiso[1] < 0.05


def test_pairs_in_bins_give_the_curve_of_the_debye_sum(gold):
    """The bins are so narrow that the curve of a mixture of two equal particles is that of the particle."""
    positions = gold.positions()
    pairs = relaxed_samples.mean_pairs([positions, positions], np.array([0.3, 0.7]))
    assert pairs[1].sum() == pytest.approx(len(positions) - 1)
    values = {"qmin": 0.8, "qmax": 24.0, "uiso": 0.006, "delta2": 2.0}
    q, f = unlisted_particles.pair_structure_function(*pairs, values)
    expected_f = measured_pdfs.structure_function(positions, q, uiso=0.006, delta2=2.0)
    assert abs(f - expected_f).max() < 2e-4 * abs(expected_f).max()


def test_weights_of_a_lognormal_distribution_have_its_mean_and_width():
    sizes = np.exp(np.arange(0.5, 6.0, 0.01))
    weight = relaxed_samples.lognormal_weights(sizes, 20.0, 0.25)
    weight /= weight.sum()
    mean = weight @ sizes
    assert mean == pytest.approx(20.0, rel=1e-3)
    assert np.sqrt(weight @ (sizes - mean) ** 2) / mean == pytest.approx(0.25, rel=1e-3)


def test_a_pool_has_particles_of_one_type_from_small_to_large(tmp_path):
    pool = relaxed_samples.relaxed_pool("Cu", "icosahedron", tmp_path, 11.0)
    sizes = [member.size for member in pool]
    assert len(pool) > 1 and sizes == sorted(sizes) and {member.particle.type for member in pool} == {"icosahedron"}
    sample = relaxed_samples.Sample(pool, np.full(len(pool), 1 / len(pool)))
    assert sample.truth["mean"] == pytest.approx(np.mean(sizes)) and sample.truth["shares"] == {"icosahedron": 1.0}
    assert sample.truth["width"] == pytest.approx(np.std(sizes) / np.mean(sizes))


def prepared_result(command, measurement):
    intervals = {"n_atoms": Interval(55.0, 50.0, 60.0)}
    if command == "classify":
        return PdfResult(measurement.name, "", "Ni", "solved", "", types={"icosahedron": 0.9}, intervals=intervals)
    value = Value(0.95, 0.04, "")
    candidate = Candidate(
        "library", "icosahedron", "icosahedron", "x", 55, 10.0, 0.02, 1.0, True, True, "", {"relaxation": value}
    )
    return PdfResult(
        measurement.name, "", "Ni", "weak", "", (candidate,), types={"icosahedron": 0.9}, intervals=intervals
    )


def test_finished_rows_are_not_computed_again(tmp_path, capsys):
    """The results are prepared, because other tests cover the commands."""
    calls = []

    def answer(command, metal, part, measurements):
        calls.append((command, metal, len(measurements), part.absolute))
        return [prepared_result(command, measurement) for measurement in measurements]

    arguments = ["listed", "--quick", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "rows.jsonl")]
    relaxed_particles.main([*arguments, "--commands", "mine"], answer=answer)
    relaxed_particles.main([*arguments], answer=answer)
    assert calls == [("mine", "Ni", 1, False), ("classify", "Ni", 1, False)]
    first_row, second_row = relaxed_particles.json_rows.read_lines(tmp_path / "rows.jsonl")
    assert first_row["type"] == first_row["found_type"] == "icosahedron" and first_row["amplitude"] == 1.0
    assert first_row["relaxation"] == 0.95 and first_row["relaxation_high"] == pytest.approx(0.95 + 1.645 * 0.04)
    assert first_row["minimum"] and 0.005 < first_row["noise_rw"] < 0.03 and first_row["rejections"] == {}
    assert second_row["found_atoms"] == 55 and second_row["n_low"] == 50.0 and "rw" not in second_row


def test_the_case_of_a_slot_is_the_same_each_time_and_half_relaxed_in_its_part(tmp_path):
    part = dataclasses.replace(relaxed_particles.PARTS["half"], atom_range=(38, 60))
    labels = next(relaxed_particles.slot_labels("half", part, relaxed_particles.TUNING_SEED, 1))
    half, repeated = (relaxed_particles.simulate_case(labels, part, tmp_path) for _ in range(2))
    np.testing.assert_array_equal(half.measurement.g, repeated.measurement.g)
    full = relaxed_particles.simulate_case(labels, dataclasses.replace(part, amplitude=1.0), tmp_path)
    rigid = full.truth["bond"] * mackay_cluster(2).positions
    np.testing.assert_allclose(half.positions, (full.positions + rigid) / 2, atol=1e-4)
    assert half.measurement.settings_by_name["qdamp"] == relaxed_particles.QDAMP


def test_tables_give_the_measures_of_the_rows(experiments):
    import relaxed_tables

    row = {
        "part": "listed", "kind": "mackay", "index": 0, "metal": "Ni", "seed": 6000, "draw": 0, "command": "mine",
        "atoms": 55, "type": "icosahedron", "found_type": "icosahedron", "found_atoms": 55, "n_low": 50.0,
        "n_high": 60.0, "rw": 0.03, "noise_rw": 0.02, "w1": 0.01, "status": "solved", "seconds": 2.0, "strain": 0.02,
        "amplitude": 1.0, "relaxation": 0.95, "relaxation_low": 0.9, "relaxation_high": 0.99, "minimum": True,
        "rejections": {},
    }  # fmt: skip
    other_row = row | {"draw": 1, "found_atoms": 44, "n_high": 50.0, "relaxation": 0.5, "found_type": "fcc"}
    empty_slot = {name: row[name] for name in ("part", "metal", "seed", "draw")}
    empty_slot |= {"kind": "bcc", "index": 8, "command": "none", "rejections": {"atoms leave their sites": 4}}
    sample_row = row | {"part": "distributions", "kind": "one", "mean": 20.0, "width": 0.2, "sample": "distribution"}
    sample_row |= {"mean_found": [20.5, 19, 21], "width_found": [0.25, 0.21, 0.3]}
    rows = [row, other_row, empty_slot, sample_row]
    table = relaxed_tables.relaxed_parts_table(rows)
    assert "| in the library | mine | 2 | 50 % | 50 % | 10 % | 50 % | 1.5 | 0.01 | 50 % | 0 % | 100 % | 2 |" in table
    assert "| mackay | 2 | 0.02 | 50 % |" in relaxed_tables.relaxed_types_table(rows)
    block = relaxed_tables.relaxed_block(rows)
    assert "Of the bcc and sc particles 4 of 4 collapse" in block and "Of the other kinds 0 of 2" in block
    assert "| in the library | number of atoms in its interval | 50 % | – | – | 85 to 95 % |" in block
    assert "| one | mine | 1 | 100 % | 100 % | 100 % | 0 % | 0 % | 100 % |" in relaxed_tables.relaxed_samples_table(
        rows
    )
    assert "| listed | bcc | 1 | 0 | 0 | 4 | atoms leave their sites: 4 |" in relaxed_tables.rejections_table(rows)


@pytest.mark.long
def test_a_quick_run_finishes(capsys, tmp_path):
    relaxed_particles.main(["--quick", "--cache", str(tmp_path)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["command"] for line in lines] == ["mine", "classify"]
