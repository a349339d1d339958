import dataclasses

import example_distributions
import numpy as np
import pytest
import small_angle_data

from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import figures
from jaxstruc.result import Candidate


@pytest.fixture
def result():
    r = np.linspace(1.5, 20, 400)
    fields = {"source": "library", "type": "fcc", "n_atoms": 55, "converged": True, "remark": "", "values": {}}
    candidates = tuple(
        Candidate(
            family=family, recipe="x", description=f"{family}, 55 atoms",
            diameter=10.0 + rw, rw=rw, weight=0.5, in_90=rw < 0.15, **fields,
            calculated=np.sin(r + rw), background=0 * r,
        )
        for family, rw in (("fcc", 0.1), ("icosahedron", 0.2), ("fcc", 0.3))
    )  # fmt: skip
    return PdfResult("d/T.gr", "", "Ag", "solved", "", candidates, n_fitted=30, ties=1, r=r, observed=np.sin(r))


def test_the_picture_shows_data_fit_and_the_difference_below_both(result):
    axes = figures.fit(result, rank=2).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["fit"], np.sin(result.r + 0.2))
    assert lines["difference"].max() < lines["fit"].min()
    assert axes.get_xlabel() == "r (Å)" and "G (Å" in axes.get_ylabel()
    assert axes.get_title() == "icosahedron, 55 atoms\nT.gr (Ag), Rw = 0.200"


def test_the_picture_of_families_rings_the_credible_set(result):
    axes = figures.families(result).axes[0]
    lines = {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.lines}
    assert set(lines) == {"fcc", "icosahedron", "90 % set"}
    assert lines["fcc"][1].tolist() == [0.1, 0.3] and lines["90 % set"][1].tolist() == [0.1]
    assert "best 3 of 30" in axes.get_title()


def test_a_picture_is_written_whole(result, tmp_path):
    figures.write(tmp_path / "deep" / "x.png", figures.fit(result))
    assert (tmp_path / "deep" / "x.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_a_result_plots_itself(result):
    assert result.plot(rank=3).axes[0].get_title().endswith("Rw = 0.300")


def test_the_picture_of_a_distribution_stacks_types_and_shades_what_is_predicted(result):
    distribution = example_distributions.distribution()
    figure = dataclasses.replace(result, ensemble=distribution).plot_distribution()
    volume_axes, number_axes, curve_axes = figure.axes
    assert [text.get_text() for text in volume_axes.get_legend().get_texts()] == [
        "fcc 70%",
        "decahedron 30%",
        "90 % band",
    ]
    assert volume_axes.get_ylabel() == "% of the atoms" and number_axes.get_ylabel() == "% of the particles"
    np.testing.assert_allclose(volume_axes.lines[1].get_ydata(), 100 * distribution.volume_high)
    labels = [line.get_label() for line in curve_axes.lines]
    assert labels == ["data", "one cluster, Rw 0.60", "distribution, Rw 0.45"]
    assert curve_axes.get_title() == "fitted up to 14.0 Å, predicted beyond (shaded)"
    assert figure.get_suptitle().startswith("T.gr: distribution; mean 18.4 Å (17.0 to 20.1), width 20% (10% to 33%)")


def test_the_picture_says_if_nothing_is_predicted(result):
    result_without_holdouts = dataclasses.replace(
        result, ensemble=example_distributions.distribution("undecided", holdouts=False)
    )
    assert "no data beyond" in figures.distribution(result_without_holdouts).axes[2].texts[0].get_text()


def test_probabilities_of_types_are_stacked_to_1_in_bars():
    axes = figures.types(_classified_results([0.2, 0.9])).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(tops, [0.2, 0.9, 1, 1])


@pytest.mark.parametrize(("n_files", "width"), [(2, 5.0), (20, 8.0), (100, 16.0)])
def test_a_picture_of_more_files_is_wider_within_limits(n_files, width):
    figure = figures.types(_classified_results([0.5] * n_files))
    assert figure.get_size_inches().tolist() == [pytest.approx(width), 4.0]


def test_probabilities_of_many_files_are_areas_from_end_to_end():
    fcc_probabilities = np.linspace(0.2, 0.9, figures.MAX_NAMED_FILES + 1).tolist()
    axes = figures.types(_classified_results(fcc_probabilities)).axes[0]
    fcc_vertices, hcp_vertices = (area.get_paths()[0].vertices for area in axes.collections)
    assert (
        not axes.patches
        and fcc_vertices[:, 0].min() == -0.5
        and fcc_vertices[:, 0].max() == len(fcc_probabilities) - 0.5
    )
    for index, probability in enumerate(fcc_probabilities):
        assert [index - 0.5, probability] in fcc_vertices.tolist() and [
            index - 0.5,
            probability,
        ] in hcp_vertices.tolist()
    assert fcc_vertices[:, 1].min() == 0 and hcp_vertices[:, 1].max() == pytest.approx(1)


def test_the_picture_has_the_data_the_fit_the_residuals_and_the_sizes():
    figure = figures.fit(small_angle_data.result())
    curve_axes, residual_axes, size_axes = figure.axes
    assert curve_axes.get_xscale() == curve_axes.get_yscale() == "log" and residual_axes.get_ylabel() == "residual / σ"
    residual = residual_axes.lines[-1].get_ydata()
    assert len(residual) == 60 and 0.5 < np.std(residual) < 1.5
    assert len(size_axes.collections) == 1 and size_axes.get_xlabel() == "radius (Å)"


def test_sizes_are_drawn_by_volume_and_by_number():
    volume_axes, number_axes = figures.distribution(small_angle_data.result()).axes
    peaks = [line.get_xdata()[line.get_ydata().argmax()] for line in (volume_axes.lines[0], number_axes.lines[0])]
    assert peaks[0] > peaks[1]


def test_a_rank_without_a_curve_is_refused():
    with pytest.raises(ValueError, match="Expected a rank up to 1"):
        figures.fit(small_angle_data.result(), rank=2)


def _classified_results(fcc_probabilities):
    return [
        PdfResult(f"{index}.gr", "", "Ag", "solved", "", types={"fcc": probability, "hcp": 1 - probability})
        for index, probability in enumerate(fcc_probabilities)
    ]
