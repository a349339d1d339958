import numpy as np
import pytest
import sized

from jaxstruc.report import pictures, sized_pictures


def test_the_picture_has_the_data_the_fit_the_residuals_and_the_sizes():
    figure = pictures.fit(sized.result())
    curve, below, sizes = figure.axes
    assert curve.get_xscale() == curve.get_yscale() == "log" and below.get_ylabel() == "residual / σ"
    residual = below.lines[-1].get_ydata()
    assert len(residual) == 60 and 0.5 < np.std(residual) < 1.5
    assert len(sizes.collections) == 1 and sizes.get_xlabel() == "radius (Å)"


def test_sizes_are_drawn_by_volume_and_by_number():
    volume, number = pictures.distribution(sized.result()).axes
    peaks = [line.get_xdata()[line.get_ydata().argmax()] for line in (volume.lines[0], number.lines[0])]
    assert peaks[0] > peaks[1]


def test_a_rank_without_a_curve_is_refused():
    with pytest.raises(ValueError, match="Expected a rank up to 1"):
        sized_pictures.fit(sized.result(), rank=2)
