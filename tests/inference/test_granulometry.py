import numpy as np
import sized


def test_densities_have_unit_integrals_within_their_bands():
    own = sized.result().sizes
    step = np.log(own.radius[1] / own.radius[0])
    assert own.method == "gaussian" and set(own.table) >= {"radius", "volume", "number_high"}
    for name in ("volume", "number"):
        line, low, high = (getattr(own, f"{name}{end}") for end in ("", "_low", "_high"))
        assert abs(line.sum() * step - 1) < 0.01 and np.all(low <= high)
        top = line.argmax()
        assert low[top] <= line[top] * 1.02 and line[top] <= high[top] * 1.02
    assert 40 < own.radius[own.volume.argmax()] < 46 and 38 < own.radius[own.number.argmax()] < 43
