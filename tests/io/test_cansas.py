import numpy as np
import pytest
from measurement_files import assert_one_sentence
from q_curve_files import DQ, SIGMA, I, Q, assert_curve, cansas_xml

from jaxstruc.io import cansas, q_axis
from jaxstruc.io.columns import ReadError

ENTITY_BOMB = (
    '<!DOCTYPE SASroot [<!ENTITY a "0123456789">'
    + "".join(
        f'<!ENTITY {entity} "{f"&{inner_entity};" * 10}">'
        for inner_entity, entity in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)


def with_document_type(document_type):
    """Return CanSAS1d XML with a document type."""
    return cansas_xml().replace("<SASroot", f"{document_type}<SASroot", 1)


@pytest.mark.parametrize("namespace", ["urn:cansas1d:1.1", "cansas1d/1.0", ""])
def test_a_curve_comes_back_with_its_units_whatever_the_version(write, namespace):
    measurement = cansas.read(write(cansas_xml(namespace=namespace), "x.xml"))
    assert_curve(measurement)
    assert measurement.format == "CanSAS1d, Q in 1/Å from the header" and measurement.header == {"title": "run 1"}
    assert measurement.warnings == ()


def test_a_curve_in_nanometres_without_errors_is_read(write):
    measurement = cansas.read(write(cansas_xml(q_unit="nm^-1", intensity_unit="a.u.", sigma=None, dq=None), "x.xml"))
    assert_curve(measurement, q=Q / 10, sigma=None, dq=None, intensity_unit="arbitrary")
    measurement = cansas.read(write(cansas_xml(sigma=0 * Q, dq=0 * Q), "x.xml"))
    assert measurement.sigma is None and measurement.dq is None


def test_ten_points_are_a_curve(write):
    assert (
        len(cansas.read(write(cansas_xml(q=Q[:10], intensity=I[:10], sigma=SIGMA[:10], dq=DQ[:10]), "x.xml")).q) == 10
    )


def test_encodings_are_those_of_xml(write):
    text = cansas_xml().replace("run 1", "Ångström")
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        encoded_text = text.replace('version="1.0"?', f'version="1.0" encoding="{encoding.removesuffix("-sig")}"?')
        assert cansas.read(write(encoded_text.encode(encoding), "x.xml")).header == {"title": "Ångström"}, encoding


def test_of_several_curves_one_is_asked_for(write):
    path = write(cansas_xml(n_curves=3), "x.xml")
    with pytest.raises(
        ReadError, match=r"one curve, got 3 in .* \(1 run 1, 2 run 2, 3 run 3\); pass --frame with the number"
    ) as error:
        cansas.read(path)
    assert_one_sentence(error)
    assert cansas.read(path, frame=2).header == {"title": "run 2"}
    with pytest.raises(ReadError, match="--frame from 1 to 3, got 4"):
        cansas.read(path, frame=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            with_document_type(ENTITY_BOMB).replace("run 1", "&i;"),
            "XML without a document type, got one in .*x.xml; remove its",
        ),
        (with_document_type('<!DOCTYPE x SYSTEM "file:///etc/hostname">'), "without a document type"),
        (
            cansas_xml(extra_elements='<dQl unit="1/A">0.1</dQl>'),
            r"without slit smearing, got a slit width \(<dQl>\) in .*; desmear the curve",
        ),
        (cansas_xml(q_unit=""), "the unit of Q in the file or the command"),
        (
            cansas_xml(q_unit="1/A").replace('"1/A"', '"1/nm"', 1),
            "the same unit of Q at all points, got 1/A and 1/nm in",
        ),
        (cansas_xml().replace('Qdev unit="1/A"', 'Qdev unit="1/nm"'), "Qdev in the unit of Q, got 1/nm and 1/A in"),
        (
            cansas_xml().replace("<Idev", "<Other", 1).replace("</Idev>", "</Other>", 1),
            "<Idev> at each point, got 79 of 80",
        ),
        (cansas_xml().replace("<I ", "<J ").replace("</I>", "</J>"), "<I> at each point, got 0 of 80"),
        (cansas_xml().replace(">0.005<", ">five<"), r"a number, got 'five' in <Q> of point 1 in"),
        (cansas_xml().replace(">0.005<", "><"), r"a number, got '' in <Q> of point 1 in"),
        (cansas_xml(q=Q[:9]), "at least 10 points in <SASdata>, got 9"),
        (cansas_xml(q=Q[::-1]), "increasing Q, got .* in point 2 of"),
        (cansas_xml(sigma=-SIGMA), "sigma above 0 .* got -1.* in point 1 of .*, the first of 80"),
        (cansas_xml(dq=-DQ), "got a negative dQ, which marks a slit"),
        (cansas_xml()[:-40], r"CanSAS1d XML, got .*, which is broken \("),
        ("<?xml version='1.0'?><html><body/></html>", "<SASroot>, got <html> in .*; export"),
        ("<?xml version='1.0'?><SASroot/>", "a curve in <SASdata>, got none"),
        ("<a>" * 200_000, "which is broken"),
        ("plain", "which is broken"),
        (b"\x89HDF\r\n", "which is broken"),
        (cansas_xml().replace('version="1.0"?', 'version="1.0" encoding="none"?'), "which is broken"),
    ],
)
def test_what_is_no_curve_is_refused_in_one_line(write, text, message):
    with pytest.raises(ReadError, match=message) as error:
        cansas.read(write(text, "x.xml"))
    assert_one_sentence(error)


def test_sasdata_reads_the_same_numbers(write):
    """Compare with sasdata 0.11.0, which reads the same numbers from a file written here."""
    loader = pytest.importorskip("sasdata.dataloader.loader")
    path = write(cansas_xml(namespace="cansas1d/1.0"), "x.xml")  # its schema of version 1.1 is refused by newer lxml
    (reference,), measurement = loader.Loader().load(str(path)), cansas.read(path)
    for name, column in (
        ("x", measurement.q),
        ("y", measurement.intensity),
        ("dy", measurement.sigma),
        ("dx", measurement.dq),
    ):
        np.testing.assert_allclose(column, getattr(reference, name), rtol=1e-15, err_msg=name)
    assert (
        q_axis.inverse_length(reference.x_unit) == "1/Å"
        and q_axis.intensity_unit(reference.y_unit) == measurement.intensity_unit
    )
    np.testing.assert_array_equal(measurement.intensity, I)
