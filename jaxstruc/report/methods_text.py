"""A paragraph for the methods section of a paper, and the papers to cite, from a result."""

import re
from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

from jaxstruc.parameters import UNITS
from jaxstruc.pdf.result import PdfResult
from jaxstruc.report import summary
from jaxstruc.result import Result
from jaxstruc.small_angle.result import SaxsResult

REFERENCES = Path(__file__).parent / "page_template" / "references.bib"
"""Papers and programs in BibTeX. The text VERSION stands for the version of jaxstruc."""
PDF_REFERENCES = ("jaxstruc", "jax", "ase", "debye1915", "farrow2009", "waasmaier1995", "banerjee2020")
"""Keys of the references of each fit to a PDF."""
SAXS_REFERENCES = ("jaxstruc", "jax", "mackay1992")
"""Keys of the references of each fit to a small-angle curve."""
POLYHEDRON_SENTENCE = "Form factors of polyhedra follow Wuttke (2021)."
FREE_SENTENCE = (
    "Free distributions were drawn as in Bardsley et al. (2014), and Akaike weights decide between them (Akaike 1974)."
)
HARD_SPHERE_SENTENCE = (
    "Interactions of hard spheres follow Percus and Yevick (1958) in the local monodisperse approximation "
    "(Pedersen 1994)."
)
SENTENCE_REFERENCES = {
    POLYHEDRON_SENTENCE: ("wuttke2021",),
    FREE_SENTENCE: ("bardsley2014", "akaike1974"),
    HARD_SPHERE_SENTENCE: ("percus1958", "pedersen1994"),
}
"""Sentences on the models of small-angle fits, with the keys of their references."""
ROUND_BODIES = {"sphere", "core-shell", "spheroid", "cylinder", "hard-sphere"}
"""Bodies that are no polyhedra."""
PROGRAM_REFERENCES = ("jaxstruc", "jax")
"""Keys of the references of a result without a fit."""
FREE_PARAMETER_REFERENCES = {"delta1": "jeong2003", "delta2": "jeong2003", "relaxation": "cleri1993"}
"""Keys of the references of fitted parameters."""
SHOWN_CHECKSUM_DIGITS = 12
"""Number of digits of a checksum in the paragraph. The page shows all of them elsewhere."""


@singledispatch
def methods_paragraph(result: Result) -> str:
    """Return sentences on the data, the model, the fit and the answer."""
    raise TypeError(f"Expected a PdfResult or SaxsResult, got {type(result).__name__}; load it again.")


@methods_paragraph.register
def _(result: PdfResult) -> str:
    if not result.candidates:
        return _classifier_paragraph(result) if result.types else f"{_opening(result)} No answer was obtained."
    sentences = [
        _opening(result),
        f"{_curve_name(result)} of candidate structures was computed with the Debye equation (Debye 1915, Farrow and "
        "Billinge 2009) and form factors of free atoms (Waasmaier and Kirfel 1995), with "
        f"{_settings_text(result, ('qmin', 'qmax'))}.",
        _candidates_text(result),
        _parameters_text(result),
        "Candidates were weighted by their posterior probability. The smallest set with 90 % of the probability has "
        f"{_count(result.ties, 'candidate')}.",
        f"The best structure ({result.best.label}) has Rw = {result.best.rw:.3f}.",
        _sample_text(result),
        "Intervals are 90 % credible intervals.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


@methods_paragraph.register
def _(result: SaxsResult) -> str:
    if not result.candidates:
        return f"{_opening(result)} No answer was obtained."
    best, sizes = result.best, result.sizes
    noise = "inferred from the scatter of the points" if result.facts.get("noise_inferred") else "taken from the file"
    limits = (
        f"The range of Q determines radii from {sizes.min_determined_radius:.3g} to "
        f"{sizes.max_determined_radius:.3g} Å."
        if sizes
        else ""
    )
    sentences = [
        _opening(result),
        f"I(Q) was fitted with {_settings_text(result, ('qmin', 'qmax'))}. The standard errors of I(Q) were {noise}.",
        f"{_count(result.n_fitted, 'combination')} of particle shapes and size distributions were compared by their "
        "evidence in the Laplace approximation (MacKay 1992).",
        *_model_sentences(result),
        f"The best fit ({best.type}, {best.family} distribution{summary.shape_text(result)}) has a reduced "
        f"chi-squared of {best.notes['chi2']:.3g}. Shape of the particles: {result.body}.",
        limits,
        "Intervals are 90 % credible intervals.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def reference_keys(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the keys of the references that the results need, without repetition."""
    keys: dict[str, None] = {}
    for result in results:
        technique_references = SAXS_REFERENCES if isinstance(result, SaxsResult) else PDF_REFERENCES
        keys |= dict.fromkeys(technique_references if result.candidates else PROGRAM_REFERENCES)
        for sentence in _model_sentences(result) if isinstance(result, SaxsResult) else ():
            keys |= dict.fromkeys(SENTENCE_REFERENCES[sentence])
        keys |= {FREE_PARAMETER_REFERENCES[name]: None for name in result.free if name in FREE_PARAMETER_REFERENCES}
    return tuple(keys)


def _model_sentences(result: SaxsResult) -> list[str]:
    """Return the sentences on the bodies and distributions that were compared."""
    bodies, families = ({getattr(entry, name) for entry in result.candidates} for name in ("type", "family"))
    is_used = {
        POLYHEDRON_SENTENCE: bool(bodies - ROUND_BODIES),
        FREE_SENTENCE: "free" in families,
        HARD_SPHERE_SENTENCE: "hard-sphere" in bodies,
    }
    return [sentence for sentence, used in is_used.items() if used]


def bibtex(keys: Sequence[str], *, version: str) -> str:
    """Return the entries of these references in BibTeX.

    Args:
        keys: Keys of the references.
        version: Version of jaxstruc.
    """
    entries = re.split(r"\n(?=@)", REFERENCES.read_text("utf-8").strip())
    by_key = {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}
    return "\n".join(by_key[key] for key in keys).replace("VERSION", version) + "\n"


def _opening(result: Result) -> str:
    """Return the sentence that names the file, its checksum and the programs."""
    names = [f"{name} {version}" for name, version in result.versions.items() if name != "jaxstruc"]
    programs = f" ({', '.join(names)})" if names else ""
    curve = "" if result.frame is None else f", curve {result.frame},"
    checksum = f" (SHA-256 {result.sha256[:SHOWN_CHECKSUM_DIGITS]}...)" if result.sha256 else ""
    version = result.versions.get("jaxstruc", "")
    return f"The file {Path(result.name).name}{curve}{checksum} was analysed with jaxstruc {version}{programs}."


def _settings_text(result: Result, names: Sequence[str]) -> str:
    """Return settings with their units and origins, e.g. "qmin = 1 1/Å (header)"."""
    settings = {setting.name: setting for setting in result.settings}
    texts = [
        f"{name} = {settings[name].value:g} {UNITS[name]} ({_plain_origin(settings[name].origin)})"
        for name in names
        if name in settings
    ]
    return " and ".join(texts) or "the range of the file"


def _plain_origin(origin: str) -> str:
    texts = {
        "header": "from the header", "data": "from the data", "inferred": "inferred from the data",
        "command line": "set by the user",
    }  # fmt: skip
    return texts.get(origin, origin)


def _sources_text(result: PdfResult) -> str:
    """Return the sources of the candidates in words."""
    names = {
        "file": "the user's structure files",
        "library": "a library of clusters", "network": "a neural network", "search": "a search over lattice sites",
    }  # fmt: skip
    present = {candidate.source for candidate in result.candidates}
    return "from " + " and ".join(text for name, text in names.items() if name in present)


def _curve_name(result: PdfResult) -> str:
    """Return the name of the fitted curve."""
    return "I(Q)" if result.kind == "iq" else "G(r)"


def _candidates_text(result: PdfResult) -> str:
    """Return the sentence on the candidates that were fitted."""
    settings, is_one = result.settings_by_name, result.n_fitted == 1
    mining = "" if result.best.source == "file" else ", as in cluster mining (Banerjee et al. 2020)"
    opening = f"{_count(result.n_fitted, 'candidate')} {_sources_text(result)} {'was' if is_one else 'were'} fitted"
    if result.kind == "iq":
        return f"{opening} to I(Q) without a Fourier transform{mining}."
    rmin, rmax = (settings.get(name, float("nan")) for name in ("rmin", "rmax"))
    weighted = ", weighted by the standard errors of the file" if "sigma_g" in settings else ""
    return f"{opening} from r = {rmin:g} to {rmax:g} Å{weighted}{mining}."


def _parameters_text(result: PdfResult) -> str:
    """Return the sentence on the parameters that were fitted and on those that were kept."""
    fixed = [
        f"{name} at {value.value:.4g}{f' {value.unit}' if value.unit else ''}"
        for name, value in result.best.values.items()
        if name not in result.free
    ]
    fixed_text = f"; {', '.join(fixed)} stayed fixed" if fixed else ""
    motion = " Correlated motion follows Jeong et al. (2003)." if {"delta1", "delta2"} & set(result.free) else ""
    relaxed = (
        " The displacements of the atoms come from a second-moment potential (Cleri and Rosato 1993)."
        if "relaxation" in result.free
        else ""
    )
    return f"The fitted parameters were {', '.join(result.free)}{fixed_text}.{motion}{relaxed}"


def _sample_text(result: PdfResult) -> str:
    """Return the sentence on the comparison of one structure with a distribution; empty without a comparison."""
    ensemble = result.ensemble
    if ensemble is None or not ensemble.holdouts:
        return ""
    name, place = (
        ("I(Q)", "in ranges of Q that were not fitted")
        if result.kind == "iq"
        else ("G(r)", "beyond the distances at which they were fitted")
    )
    decision = {
        "single": f"A single structure predicts {name} better than a distribution of particles",
        "distribution": f"A distribution of particles predicts {name} better than a single structure",
    }.get(result.sample, f"A single structure and a distribution of particles predict {name} about equally well")
    return f"{decision} {place} (mean Rw {ensemble.rw_holdout:.3f})."


def _classifier_paragraph(result: PdfResult) -> str:
    """Return the paragraph of a prediction of the classifier alone."""
    return (
        f"{_opening(result)} A neural network ({result.facts.get('model', 'the shipped classifier')}) predicted the "
        "structure type and the size from G(r), without a fit of structures. Sizes are medians with 90 % intervals."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
