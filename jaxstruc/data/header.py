"""Headers of text files: settings by name, and the programs that wrote them."""

import re

import numpy as np

from jaxstruc.data.text import parse_number

NUMBER_SETTINGS = ("qmin", "qmax", "qmaxinst", "qdamp", "qbroad", "rmin", "rmax", "rstep", "wavelength")
WORD_SETTINGS = ("composition", "mode", "outputtype")
PROGRAM_MARKS = (
    ("xPDFsuite Configuration", "xPDFsuite"),
    ("PDFgetXgui Configuration", "PDFgetXgui"),
    ("pdfgetx", "PDFgetX3"),
    ("Get_XPDF", "PDFgetX2"),
    ("PDFgetN", "PDFgetN"),
)
"""Marks in a header, and whose they are."""
MAX_WORD_CHARACTERS = 100
"""Most characters of a word in a header."""


def header_program(lines: list[str]) -> str:
    """Return the program that wrote a header, or "bare"."""
    return next((name for mark, name in PROGRAM_MARKS if mark in "\n".join(lines)), "bare")


def header_settings(lines: list[str]) -> tuple[dict[str, float | str], list[str]]:
    """Return what is known of the header, and warnings. [Misc] holds private paths and is not read."""
    settings: dict[str, float | str] = {}
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
            if name in WORD_SETTINGS:
                if len(value) <= MAX_WORD_CHARACTERS and value.isprintable():
                    settings[name] = value
                else:
                    warnings.append(f"the header's {name} is no word and is not used")
            elif name in NUMBER_SETTINGS:
                try:
                    number_value = parse_number(re.split(r"[\s;]|,(?!\d)", value)[0])
                except ValueError:
                    number_value = np.nan
                if np.isfinite(number_value):
                    settings[name] = number_value
                else:
                    warnings.append(f"the header's {name} is no number and is not used")
    return settings, list(dict.fromkeys(warnings))
