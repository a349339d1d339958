"""Claim: a file is judged in about two seconds, and a series is told its sizes at 50 files a second.

    python experiments/benchmark_ensembles.py             (about three minutes on 2 cores)
    python experiments/benchmark_ensembles.py --quick     (a small library, few files, under 50 s)

judge: a platinum sample of eighty fcc particles, 3 % of noise, r to 30 Å: fits of 48 clusters and four ensembles to
three cuts, chosen of 5000 listed clusters, and the ensemble of all the signal; compiled before, the median of five.
series: lognormal ensembles of 1000 such samples whose mean grows, by `ensemble.fit_series`, a hundred at a time.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ensembles
import jax
import numpy as np
import rows

from jaxstruc.data import measurement as measurements
from jaxstruc.inference import candidates, ensemble, screening, target
from jaxstruc.inference import mixture as mixtures
from jaxstruc.inference.candidates import Candidates
from jaxstruc.scattering.templates import Span
from jaxstruc.solver import samples
from jaxstruc.structures import families, library

RESULTS = Path(__file__).parent / "results"
LISTED, FITTED, FILES, BATCH, REPEATS = 5000, 200, 1000, 100, 5
FREE = ("scale", "stretch", "uiso", "delta2")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the first call, and the median of the next few."""
    seconds = []
    for _ in range(REPEATS + 1):
        begun = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - begun)
    return seconds[0], float(np.median(seconds[1:]))


def main(words: Sequence[str] | None = None) -> list[dict]:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small library and few files")
    parser.add_argument("--out", type=Path, help="[results/benchmark_ensembles.jsonl; quick: nowhere]")
    asked = parser.parse_args(words)
    out = asked.out or (None if asked.quick else RESULTS / "benchmark_ensembles.jsonl")
    own = library.cached(tuple(families.FAMILIES), max_atoms=100 if asked.quick else 1000)
    every = np.arange(len(own.atoms))
    one = ensembles.case(own, "lognormal", 8)
    data = measurements.resolved(one.measurement, one.asked, bond=ensembles.BOND)
    given, (r, g) = data.given, data.curve
    span = target.span(rmax=20.0, qmax=given["qmax"], diameter=float(own.diameter.max()) * ensembles.BOND)
    known = {name: given[name] for name in ("qmin", "qmax", "qdamp", "qbroad")}
    goal = target.target(r, g, **known, bond=ensembles.BOND, span=span)
    bins = screening.bins(own, every, bond=ensembles.BOND, span=span)
    misfit = screening.misfits(bins, goal.basis)
    group = Candidates("library", own, every)
    pool = candidates.pool([group._replace(rows=screening.chosen(bins, misfit, most=FITTED))])
    fits = candidates.fit_all(pool, goal)
    order = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf))
    pool, fits = pool.chosen(order), candidates.rows(fits, order)
    end = screening.seen(data.r, data.g, bond=ensembles.BOND, qdamp=known["qdamp"]).end
    kept, tried = samples.Judging({}), screening.chosen(bins, misfit, most=LISTED)

    def judged():
        return samples.judged(
            data, goal, [group], pool, fits, end=end, free=FREE, tried=tried, kept=kept, how="auto"
        ).judged.found.share  # type: ignore[union-attr]

    first, median = timed(judged)
    found = [{"part": "judge", "columns": len(tried), "seconds": median, "first": first}]
    rows.show(found[0])
    (listed,) = (value for value in kept.listed.values() if value)
    found.append(series(listed, own, 2 if asked.quick else FILES // BATCH))
    found = [row | rows.environment() | {"commit": rows.commit()} for row in found]
    if out:
        rows.write_lines(found, out)
    return found


def series(listed: samples.Listed, own: library.Library, batches: int) -> dict:
    """Return how fast a series of samples whose mean grows is fitted, and how well."""
    rng, q, r = np.random.default_rng(0), np.linspace(0.8, 20.0, 961), np.arange(1.5, 25.001, 0.05)
    transform, span = ensembles.measured_pdfs.transform, Span(36.0, 24.0)
    mixture = mixtures.mixture(listed.classes, bond=ensembles.BOND, span=span)
    forth, back = (transform(q, r, qdamp=qdamp) for qdamp in (0.03, 0.0))
    bases, truth, middle = [], [], 0.55 * float(listed.mixture.size[listed.classes.members > 0].max())
    for place in range(BATCH):
        wanted = ensembles._sizes(middle * (1 + 0.002 * place), 0.2, "lognormal", rng) / ensembles.BOND
        parts = [ensembles._of_row(own, ensembles._listed(own, ensembles.RULES["fcc"], size, rng)) for size in wanted]
        values = {"uiso": 0.008, "delta2": 2.0, "stretch": 1.0 + 1e-5 * place}
        f = ensembles._structure_function(parts, np.full(len(parts), 1 / len(parts)), q, values, 0.0)
        g = forth @ f + back @ (0.03 * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size))
        known = {"qmin": 0.8, "qmax": 20.0, "qdamp": 0.03, "qbroad": 0.0}
        bases.append(target.target(r, g, **known, bond=ensembles.BOND, span=span).basis)
        size = np.array([one.size for one in parts]) * ensembles.BOND * values["stretch"]
        truth.append((size.mean(), size.std() / size.mean()))
    names = tuple(name for name in FREE if name != "scale")
    pool = candidates.pool([Candidates("library", own, np.flatnonzero(own.families == "fcc")[-16:])])
    to = target.target(r, g, **known, bond=ensembles.BOND, span=span)
    values = candidates.rows(candidates.fit_all(pool, to).values, 0)
    begin = ensemble.fit(
        mixture, bases[BATCH // 2],
        ensemble.first(mixture, bases[BATCH // 2], values, names, middle), names=names, strength=0.0,
    ).guess  # fmt: skip

    def work():
        return [ensemble.fit_series(mixture, bases, begin, names=names).share for _ in range(batches)]

    first, median = timed(work)
    share = np.asarray(work()[0], float)
    share /= share.sum(axis=1, keepdims=True)
    size = np.asarray(mixture.size, float)
    mean = share @ size
    width = np.sqrt(share @ size**2 - mean**2) / mean
    off = np.abs(np.stack([mean, width], axis=1) / np.array(truth) - 1)
    row = {
        "part": "series", "files": batches * BATCH, "columns": len(size), "files_a_second": batches * BATCH / median,
        "first": first, "mean_off": float(np.median(off[:, 0])), "width_off": float(np.median(off[:, 1])),
        "mean_within_3": float(np.mean(off[:, 0] < 0.03)), "width_within_15": float(np.mean(off[:, 1] < 0.15)),
    }  # fmt: skip
    rows.show(row)
    return row


if __name__ == "__main__":
    main()
