"""An example curve I(Q) and files that contain it, for tests of readers."""

import h5py
import numpy as np

Q = np.geomspace(0.005, 0.4, 80).round(6)
I = 100 * np.exp(-((25 * Q) ** 2) / 3) + 0.05 + 0.001 * np.sin(40 * Q)  # noqa: E741
SIGMA = 0.02 * I + 1e-4
DQ = 0.03 * Q + 2e-4


def text_columns(*arrays, header="", separator=" "):
    """Return a header followed by rows of numbers."""
    rows = zip(*(array.tolist() for array in arrays), strict=True)
    return header + "".join(separator.join(map(repr, row)) + "\n" for row in rows)


def cansas_xml(
    q=Q,
    intensity=I,
    sigma=SIGMA,
    dq=DQ,
    *,
    q_unit="1/A",
    intensity_unit="1/cm",
    extra_elements="",
    n_curves=1,
    namespace="urn:cansas1d:1.1",
):
    """Return CanSAS1d XML that contains a curve `n_curves` times."""
    rows = []
    for index in range(len(q)):
        row = f'<Q unit="{q_unit}">{float(q[index])!r}</Q><I unit="{intensity_unit}">{float(intensity[index])!r}</I>'
        row += "" if sigma is None else f'<Idev unit="{intensity_unit}">{float(sigma[index])!r}</Idev>'
        row += "" if dq is None else f'<Qdev unit="{q_unit}">{float(dq[index])!r}</Qdev>'
        rows.append(f"<Idata>{row}{extra_elements}</Idata>\n")
    data = f"<SASdata>{''.join(rows)}</SASdata>"
    entries = "".join(f"<SASentry><Title>run {number}</Title>{data}</SASentry>" for number in range(1, n_curves + 1))
    version = "1.0" if namespace == "cansas1d/1.0" else "1.1"
    return f'<?xml version="1.0"?>\n<SASroot version="{version}" xmlns="{namespace}">{entries}</SASroot>\n'


def write_nxcansas_entry(
    parent,
    *,
    q=Q,
    intensity=I,
    sigma=SIGMA,
    dq=DQ,
    q_unit="1/angstrom",
    intensity_unit="1/cm",
    axes="Q",
    old_attributes=False,
):
    """Write a curve or a stack of frames as an entry of an HDF5 file or group, and return the group of its data."""
    class_attribute, unit_attribute = ("NX_class", "unit") if old_attributes else ("canSAS_class", "units")
    group = parent.create_group("entry")
    group.attrs[class_attribute] = "SASentry"
    group["definition"] = "NXcanSAS"
    data = group.create_group("data")
    data.attrs.update({class_attribute: "SASdata", "signal": "I", "I_axes": axes})
    for label, column, column_unit in (
        ("Q", q, q_unit),
        ("I", intensity, intensity_unit),
        ("Idev", sigma, intensity_unit),
        ("Qdev", dq, q_unit),
    ):
        if column is not None:
            data[label] = column
            if column_unit:
                data[label].attrs[unit_attribute] = column_unit
    if sigma is not None:
        data["I"].attrs["uncertainty" if old_attributes else "uncertainties"] = "Idev"
    if dq is not None:
        data["Q"].attrs["resolutions"] = "Qdev"
    return data


def write_nxcansas(path, **entry_options):
    """Write an NXcanSAS file of one curve and return its path."""
    with h5py.File(path, "w") as file:
        write_nxcansas_entry(file, **entry_options)
    return path


def assert_curve(measurement, *, q=Q, intensity=I, sigma=SIGMA, dq=DQ, intensity_unit="1/cm", rtol=1e-15):
    """Assert that a measurement contains the curve that was written, with Q in 1/Å."""
    assert (
        measurement.kind == "iq"
        and measurement.intensity_unit == intensity_unit
        and len(measurement.r) == len(measurement.g) == 0
    )
    for name, expected in (("q", q), ("intensity", intensity), ("sigma", sigma), ("dq", dq)):
        if expected is None:
            assert getattr(measurement, name) is None, name
        else:
            np.testing.assert_allclose(getattr(measurement, name), expected, rtol=rtol, err_msg=name)
