from jaxstruc.io import gr


def test_settings_are_found_by_name_and_private_ones_are_not_read():
    lines = ["# pdfgetx", "qmin = 1.5  qmax= 20 1/A", "composition = Au", "[Misc]", "rmax = 3", "[PDF]", "mode = xray"]
    settings, warnings = gr.header_settings(lines)
    assert settings == {"qmin": 1.5, "qmax": 20.0, "composition": "Au", "mode": "xray"} and not warnings


def test_a_setting_without_a_number_or_word_is_reported_once():
    settings, warnings = gr.header_settings(["qmax = wide", "qmax = wide", f"mode = {'x' * 101}"])
    assert settings == {} and len(warnings) == 2 and "qmax is not a number" in warnings[0]


def test_programs_are_recognised_by_their_marks():
    assert gr.header_program(["# xPDFsuite Configuration #"]) == "xPDFsuite"
    assert gr.header_program(["# something"]) == "bare"
