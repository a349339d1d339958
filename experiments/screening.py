"""Claim: what the classifier finds improbable need not be fitted: the best cluster is still found, in less time.

    python experiments/screening.py                        (300 simulated files, 45 minutes on a core)
    python experiments/screening.py --quick                (few files, nothing is written)
    python experiments/screening.py --data DIR             (the measured files too, which are not in the repository)

Each file is mined with `--screen none`, which tries every candidate and fits the best 1500, and with the screen, which
tries what is probable at a glance and fits the best 300. "Held": the least Rw of the screened fits is within 2 % of the
least of all. Files: particles and instruments of `solving.py`, off-rule with three noises, and of the rules without.
Seconds are those of whole results without compilation, one file after the other in one process.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import particles
import rows
import solving

import jaxstruc
from jaxstruc.data.measurement import Measurement
from jaxstruc.options.pdf import CLASSIFIER, EnsembleName, MineOptions
from jaxstruc.solver import glances
from jaxstruc.solver.answers import Plan, answers, prepared
from jaxstruc.solver.doors import solving as planned
from jaxstruc.solver.glances import Screen

RESULTS = Path(__file__).parent / "results" / "screening.jsonl"
FILES = {"Pt_1.8nm_S3.gr": "Pt", "Au144_pMBA.gr": "Au", "Pt_nanoparticles_pdfttp.gr": "Pt", "Au_ScattBO.gr": "Au"}
NOISES = (0.0, 0.03, 0.1)
WITHIN = 1.02


def plan(element: str, screen: Screen, ensemble: EnsembleName = "none") -> Plan:
    """Return how files are mined."""
    return planned(element, MineOptions(ensemble=ensemble, screen="none"))._replace(screen=screen)


def simulated(draws: int) -> list[tuple[dict[str, Any], Measurement]]:
    """Return the names and the data of simulated particles."""
    found = []
    for part, kinds, noises in (("offrule", particles.OFFRULE, NOISES), ("rules", particles.RULES, (0.0,))):
        asked = solving.Part(kinds=kinds, noises=noises)
        cases = [solving.case(name, asked) for name in solving.names(part, asked, draws)]
        found += [(case.name | {"type": case.particle.type}, case.measurement) for case in cases]
    return found


def measured(folder: Path) -> list[tuple[dict[str, Any], Measurement]]:
    """Return the names and the data of measured files, ready for a plan."""
    return [
        ({"part": "measured", "file": name, "element": element},
         prepared(jaxstruc.read(folder / name), plan(element, Screen(None))))
        for name, element in FILES.items()
    ]  # fmt: skip


def mined(every: Sequence[tuple[dict[str, Any], Measurement]], screen: Screen, name: str) -> list[dict[str, Any]]:
    """Return rows of mined files, a row a file; the first of an element is mined twice, to compile."""
    kept = []
    for element in sorted({one.get("element", "Pt") for one, _ in every}):
        own = [(one, data) for one, data in every if one.get("element", "Pt") == element]
        asked, data = plan(element, screen), [one[1] for one in own]
        list(answers(data[:1], asked, among=data))
        for (one, _), result in zip(own, answers(data, asked, among=data), strict=True):
            prior = result.classifier_prior
            kept.append(one | {
                "screen": name, "rw": min(candidate.rw for candidate in result.candidates),
                "found": f"{result.best.family} {result.best.recipe}", "found_type": result.best.type,
                "fitted": result.fitted, "seconds": result.facts["seconds"], "message": result.message,
                "listed": prior.n_listed if prior else None, "kept": prior.n_screened if prior else None,
                "effective": prior.effective_samples if prior else None,
            })  # fmt: skip
            rows.show(kept[-1])
    return kept


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screens", nargs="*", default=[], help="none, classifier; both by default")
    parser.add_argument("--draws", type=int, default=9, help="particles of each kind [9]")
    parser.add_argument("--weights", type=Path, default=CLASSIFIER, help="of the classifier")
    parser.add_argument("--data", type=Path, help="folder of the measured files")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="few files, nothing is written")
    asked = parser.parse_args(words)
    if unknown := set(asked.screens) - {"none", "classifier"}:
        parser.error(f"expected none or classifier, got {', '.join(sorted(unknown))}")
    every = simulated(1)[:4] if asked.quick else simulated(asked.draws)
    every += measured(asked.data) if asked.data else []
    told = {"commit": rows.commit(), **rows.environment()}
    kept = [json.loads(one) for one in asked.out.read_text("utf-8").splitlines()] if asked.out.exists() else []
    for name in asked.screens or ["none", "classifier"]:
        screen = glances.screen(asked.weights) if name == "classifier" else Screen(None)
        if name == "classifier" and screen.network is None:
            parser.error(screen.missing)
        own = [row | told for row in mined(every, screen, name)]
        kept = [row for row in kept if row["screen"] != name] + own
        if not asked.quick:
            rows.write_lines(kept, asked.out)
    print(summary(kept if not asked.quick else own))


def summary(kept: Sequence[dict[str, Any]]) -> str:
    """Return what the rows say, in a line."""
    key = lambda row: tuple(str(row.get(name)) for name in ("part", "kind", "seed", "draw", "noise", "file"))  # noqa: E731
    all_, few = ({key(row): row for row in kept if row["screen"] == name} for name in ("none", "classifier"))
    both = sorted(set(all_) & set(few))
    if not both:
        return "Expected both screens, got one; run the other too."
    held = np.array([few[one]["rw"] <= WITHIN * all_[one]["rw"] for one in both])
    seconds = [np.median([rows_[one]["seconds"] for one in both]) for rows_ in (all_, few)]
    return f"held {held.mean():.1%} of {len(both)}; {seconds[0]:.2f} s a file, screened {seconds[1]:.2f} s"


if __name__ == "__main__":
    main()
