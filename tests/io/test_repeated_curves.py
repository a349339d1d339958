"""Means of repeated curves, and their standard errors."""

from pathlib import Path

import numpy as np
import pytest
from measurement_files import assert_one_sentence

from jaxstruc import batch
from jaxstruc.batch import CurveEntry
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.io.repeated_curves import average

R = np.arange(1, 30, 0.05)
NOISE = 0.1


def repeated_curve(number, *, sigma=None, r=R, qmax=22.0, frame=None):
    noise = NOISE * np.random.default_rng(number).normal(size=len(r))
    settings = (Setting("qmax", qmax, "header"), Setting("rstep", 0.05, "data"))
    settings += () if frame is None else (Setting("frame", float(frame), "command line"),)
    settings += () if sigma is None else (Setting("sigma_g", 1.0, "column dG"),)
    return Measurement(
        f"in/{number}.gr", r, np.sin(r) + noise, {}, "bare", (), f"{number:02d}" * 32, settings, sigma=sigma
    )


def test_the_spread_of_repeated_curves_gives_the_error_of_their_mean():
    mean = average([repeated_curve(number) for number in range(5)])
    error = mean.settings_by_name["sigma_g"]
    assert error == pytest.approx(NOISE / np.sqrt(5), rel=0.05)
    assert np.std(mean.g - np.sin(R)) == pytest.approx(error, rel=0.1)
    assert mean.sigma is None and mean.settings[-1].origin == "spread of 5 curves"
    assert mean.settings_by_name["averaged"] == 5 and "mean of 5 curves (0.gr to 4.gr)" in mean.warnings[0]


def test_errors_of_all_curves_give_those_of_the_mean():
    sigma = 0.1 + 0.01 * R
    mean = average([repeated_curve(number, sigma=sigma) for number in range(4)])
    np.testing.assert_allclose(mean.sigma, sigma / 2)
    assert {setting.name: setting.origin for setting in mean.settings}["sigma_g"] == "column dG"


def test_the_error_of_an_intensity_is_local():
    q, generator = np.linspace(0.01, 0.5, 400), np.random.default_rng(0)
    noise = 0.01 + 0.2 * q
    frames = [
        Measurement(
            f"in/{number}.dat", R[:0], R[:0], {}, kind="iq", q=q, intensity=5 + noise * generator.normal(size=len(q))
        )
        for number in range(6)
    ]
    mean = average(frames)
    ratio = mean.sigma / (noise / np.sqrt(6))
    assert ratio.mean() == pytest.approx(1, abs=0.05) and ratio.min() > 0.5 and ratio.max() < 1.6


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (repeated_curve(1, r=R[:-1]), "curves over equal points"),
        (repeated_curve(1, r=R + 0.01), "curves over equal points"),
        (repeated_curve(1, qmax=20.0), "curves with equal settings"),
    ],
)
def test_curves_that_differ_are_not_averaged(other, message):
    with pytest.raises(ReadError, match=message) as caught:
        average([repeated_curve(0), other])
    assert_one_sentence(caught)


def test_files_and_the_curves_of_a_file_form_groups_of_their_own():
    entries = [CurveEntry(Path(f"in/{number}.gr"), None, f"{number}", repeated_curve(number)) for number in range(3)]
    entries += [
        CurveEntry(Path("in/many.gr"), frame, "many", repeated_curve(frame, frame=frame)) for frame in range(1, 6)
    ]
    entries[1] = entries[1]._replace(content="it cannot be read")
    merged_entries = batch.average_entries(entries, 3)
    assert [(entry.path.name, entry.frame) for entry in merged_entries] == [
        ("0.gr", None), ("1.gr", None), ("many.gr", 1), ("many.gr", 4),
    ]  # fmt: skip
    counts = [
        entry.content.settings_by_name["averaged"] for entry in merged_entries if isinstance(entry.content, Measurement)
    ]
    assert counts == [2, 3, 2] and merged_entries[1].content == "it cannot be read"
    assert "curves 1 to 3 of 1.gr" in merged_entries[2].content.warnings[0]
    assert batch.average_entries(entries, 1) == entries
