import numpy as np

from jaxstruc.inference import glance


def test_the_fewest_candidates_with_a_share_are_kept_in_their_order():
    share = np.array([0.05, 0.6, 0.0, 0.3, 0.05])
    assert glance.probable(share, kept=0.85).tolist() == [1, 3]
    assert glance.probable(share, kept=0.9).tolist() in ([0, 1, 3], [1, 3])
    assert glance.probable(share, kept=1.0).tolist() == [0, 1, 3, 4]
    assert glance.probable(share, kept=0.5, least=2).tolist() == [1, 3]
    assert len(glance.probable(share, kept=0.5, least=9)) == 5


def test_shares_are_densities_times_what_was_before():
    found = glance.share(np.log(np.array([1.0, 2.0, 4.0])) - 900.0, np.array([1.0, 0.5, 0.25]))
    np.testing.assert_allclose(found, 1 / 3)
