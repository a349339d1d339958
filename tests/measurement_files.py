"""An example curve that resembles a PDF, and the text of files that contain it, for tests of readers."""

import numpy as np

R = np.arange(0, 30.005, 0.01)


def example_pdf(r=R):
    """Return a curve that resembles a PDF, band-limited to 20 1/Å."""
    return np.sin(2.5 * r) * np.exp(-r / 12) + 0.3 * np.sin(17 * r) * np.exp(-r / 5)


def rows(r=R, g=None, separator=" "):
    g = example_pdf(r) if g is None else g
    return "".join(f"{x!r}{separator}{y!r}\n" for x, y in zip(r.tolist(), g.tolist(), strict=True))


LABELS = "#### start data\n#S 1\n#L r($\\AA$)  G($\\AA^{-2}$)\n"


SETTING_LINES = (
    "mode = xray\ncomposition = Pt\noutputtype = gr\nqmaxinst = 25.0\nqmin = 0.8\nqmax = 22.0\nrmax = 30.0\n"
)


XPDFSUITE = (
    "# xPDFsuite Configuration #\n[PDF]\nwavelength = 0.1\n" + SETTING_LINES + "\n[Misc]\ninputdir = /private/place\n\n"
)


HEADERS = {
    "xPDFsuite": XPDFSUITE,
    "PDFgetXgui": XPDFSUITE.replace("xPDFsuite", "PDFgetXgui"),
    "PDFgetX3": "[DEFAULT]\n\nversion = pdfgetx3-1.0\n# setup\ninputfile = /private/place/x.chi\n"
    + SETTING_LINES
    + "\n",
    "bare": "",
}


def assert_one_sentence(error):
    message = str(error.value)
    assert message.startswith("Expected ") and "got " in message and "; " in message
    assert message.endswith(".") and "?" not in message and "\n" not in message
