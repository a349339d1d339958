"""Curves over Q, and files of them, for tests of readers."""

import h5py
import numpy as np

Q = np.geomspace(0.005, 0.4, 80).round(6)
I = 100 * np.exp(-((25 * Q) ** 2) / 3) + 0.05 + 0.001 * np.sin(40 * Q)  # noqa: E741
SIGMA = 0.02 * I + 1e-4
DQ = 0.03 * Q + 2e-4


def columns(*arrays, head="", separator=" "):
    """Return rows of numbers below a header."""
    rows = zip(*(array.tolist() for array in arrays), strict=True)
    return head + "".join(separator.join(map(repr, row)) + "\n" for row in rows)


def xml(
    q=Q, i=I, sigma=SIGMA, dq=DQ, *, unit="1/A", units="1/cm", more="", head="", curves=1, space="urn:cansas1d:1.1"
):
    """Return CanSAS1d XML of a curve, or of the same one several times."""
    rows = []
    for place in range(len(q)):
        row = f'<Q unit="{unit}">{q[place]!r}</Q><I unit="{units}">{i[place]!r}</I>'
        row += "" if sigma is None else f'<Idev unit="{units}">{sigma[place]!r}</Idev>'
        row += "" if dq is None else f'<Qdev unit="{unit}">{dq[place]!r}</Qdev>'
        rows.append(f"<Idata>{row}{more}</Idata>\n".replace("np.float64(", "").replace(")", ""))
    data = f"<SASdata>{''.join(rows)}</SASdata>"
    entries = "".join(f"<SASentry><Title>run {number}</Title>{data}</SASentry>" for number in range(1, curves + 1))
    version = "1.0" if space == "cansas1d/1.0" else "1.1"
    return f'<?xml version="1.0"?>\n{head}<SASroot version="{version}" xmlns="{space}">{entries}</SASroot>\n'


def entry(file, name="entry", *, q=Q, i=I, sigma=SIGMA, dq=DQ, unit="1/angstrom", units="1/cm", axes="Q", old=False):
    """Write a curve, or frames of one, into an open HDF5 file and return its group."""
    kind, word = ("NX_class", "unit") if old else ("canSAS_class", "units")
    group = file.create_group(name)
    group.attrs[kind] = "SASentry"
    group["definition"] = "NXcanSAS"
    data = group.create_group("data")
    data.attrs.update({kind: "SASdata", "signal": "I", "I_axes": axes})
    for label, column, own in (("Q", q, unit), ("I", i, units), ("Idev", sigma, units), ("Qdev", dq, unit)):
        if column is not None:
            data[label] = column
            if own:
                data[label].attrs[word] = own
    if sigma is not None:
        data["I"].attrs["uncertainty" if old else "uncertainties"] = "Idev"
    if dq is not None:
        data["Q"].attrs["resolutions"] = "Qdev"
    return data


def nxcansas(path, **given):
    """Write a file of one curve."""
    with h5py.File(path, "w") as file:
        entry(file, **given)
    return path


def assert_curve(found, *, q=Q, i=I, sigma=SIGMA, dq=DQ, units="1/cm", rtol=1e-15):
    """The numbers that were written, in 1/Å."""
    assert found.kind == "iq" and found.units == units and len(found.r) == len(found.g) == 0
    for name, expected in (("q", q), ("intensity", i), ("sigma", sigma), ("dq", dq)):
        if expected is None:
            assert getattr(found, name) is None, name
        else:
            np.testing.assert_allclose(getattr(found, name), expected, rtol=rtol, err_msg=name)
