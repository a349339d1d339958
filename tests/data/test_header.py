from jaxstruc.data import header


def test_settings_are_found_by_name_and_private_ones_are_not_read():
    lines = ["# pdfgetx", "qmin = 1.5  qmax= 20 1/A", "composition = Au", "[Misc]", "rmax = 3", "[PDF]", "mode = xray"]
    known, warnings = header.stated(lines)
    assert known == {"qmin": 1.5, "qmax": 20.0, "composition": "Au", "mode": "xray"} and not warnings


def test_what_is_no_number_or_no_word_is_said_once():
    known, warnings = header.stated(["qmax = wide", "qmax = wide", f"mode = {'x' * 101}"])
    assert known == {} and len(warnings) == 2 and "qmax is no number" in warnings[0]


def test_programs_are_known_by_their_marks():
    assert header.program(["# xPDFsuite Configuration #"]) == "xPDFsuite"
    assert header.program(["# something"]) == "bare"
