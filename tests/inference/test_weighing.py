import numpy as np
import pytest
import sized

import jaxstruc
from jaxstruc.inference import outcomes, pattern, weighing
from jaxstruc.options.small_angle import SizeOptions


def test_the_free_distribution_stands_where_no_other_explains_the_data():
    peaks = (25.0, 0.05, 0.4), (40.0, 0.05, 0.3), (64.0, 0.05, 0.3)
    found = jaxstruc.saxs(sized.measurement(*peaks), body=("sphere",), distribution=("gaussian", "free"))
    assert found.best.family == "free" and found.best.notes["chi2"] < 2
    own = found.sizes
    inside = (own.volume_low <= own.volume + 1e-9) & (own.volume <= own.volume_high + 1e-9)
    assert inside.mean() > 0.8
    radius = own.radius[own.volume > 0.3 * own.volume.max()]
    assert radius.min() < 26 and radius.max() > 62


def test_it_weighs_nothing_where_another_does_and_all_where_it_is_alone():
    seen = pattern.pattern(sized.measurement(), SizeOptions())
    (fits,) = outcomes.fit_all([seen], ("sphere",), ("gaussian",))
    both, alone = (weighing.judged(seen, fits, fits.outcomes, free=True, alone=flag) for flag in (False, True))
    assert both.free.weight == 0 and both.weight.sum() == pytest.approx(1)
    assert alone.free.weight == pytest.approx(1) and alone.weight.sum() == pytest.approx(0)
    assert weighing.bodies(alone) == {"sphere": pytest.approx(1)}
    mean = np.average(alone.draws.sizes.mean_volume, weights=alone.draws.weight)
    assert mean == pytest.approx(41.2, rel=0.02)  # 40 (1 + 3 w²), and a little
