"""Headers of text files: settings by name, and the programs that wrote them."""

import re

import numpy as np

from jaxstruc.data.text import number

NUMBERS = ("qmin", "qmax", "qmaxinst", "qdamp", "qbroad", "rmin", "rmax", "rstep", "wavelength")
WORDS = ("composition", "mode", "outputtype")
PROGRAMS = (
    ("xPDFsuite Configuration", "xPDFsuite"),
    ("PDFgetXgui Configuration", "PDFgetXgui"),
    ("pdfgetx", "PDFgetX3"),
    ("Get_XPDF", "PDFgetX2"),
    ("PDFgetN", "PDFgetN"),
)
"""Marks in a header, and whose they are."""
WORD = 100
"""Most characters of a word in a header."""


def program(lines: list[str]) -> str:
    """Return the program that wrote a header, or "bare"."""
    return next((name for mark, name in PROGRAMS if mark in "\n".join(lines)), "bare")


def stated(lines: list[str]) -> tuple[dict[str, float | str], list[str]]:
    """Return what is known of the header, and warnings. [Misc] holds private paths and is not read."""
    found: dict[str, float | str] = {}
    warnings = []
    section = ""
    for line in lines:
        text = line.strip().lstrip("#!; ")
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1].lower()
        _, *parts = [""] if section == "misc" else re.split(r"(?<!\S)(\w+)\s*=\s*", text)
        for name, value in zip(map(str.lower, parts[::2]), map(str.strip, parts[1::2]), strict=True):
            if not value:
                continue
            if name in WORDS:
                if len(value) <= WORD and value.isprintable():
                    found[name] = value
                else:
                    warnings.append(f"the header's {name} is no word and is not used")
            elif name in NUMBERS:
                try:
                    given = number(re.split(r"[\s;]|,(?!\d)", value)[0])
                except ValueError:
                    given = np.nan
                if np.isfinite(given):
                    found[name] = given
                else:
                    warnings.append(f"the header's {name} is no number and is not used")
    return found, list(dict.fromkeys(warnings))
