"""Write the tables of the experiments from the rows in `results/`.

    python experiments/results_tables.py

The short tables are written to `README.md`, between `<!-- NAME -->` and `<!-- end -->`. The full tables are written to
`results/EXPERIMENT.md`. No other program writes these tables, and none of their numbers is typed by hand.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import benchmark_tables
import classifier_tables
import deepstruc_tables
import imperfect_tables
import json_rows
import network_tables
import pdf_tables
import relaxed_tables
import saxs_tables
import series_tables
from table_cells import Rows, origin_text

from jaxstruc import files

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
Writer = Callable[[Rows], str]


class ResultPage(NamedTuple):
    """The tables of one experiment."""

    blocks: dict[str, Writer]
    """Function that makes the part of the README for each of its markers."""
    tables: dict[str, Writer]
    """Function that makes the full table for each heading of the page."""
    note: str
    """Explanation of the columns on the page."""
    rows: str = ""
    """Name of the file of rows. It is empty if the file has the name of the experiment with the suffix .jsonl."""


NETWORK_NOTE = (
    "A value is the mean over seeds ± their standard deviation, with the mean of the standard deviations over "
    "structures in brackets. R_p is the mean squared difference of G(r), and ‖ΔG‖ is the formula that the paper "
    "prints. The error is the mean distance of the atoms from their true positions after the best rotation, mirror and "
    "pairing. A structure is solved if its number of atoms is right and its error is below 0.1 Å. † marks a measure "
    "that is newer than the trainings of these rows."
)
FIGURE_NOTE = (
    "A value is the mean over seeds ± their standard deviation, with the mean standard deviation over cases in "
    "brackets. Failed cases have no number. A structure is valid if it is connected and has no distance below 0.85 "
    "bond lengths."
)
PAGES: dict[str, ResultPage] = {
    "benchmark_scattering": ResultPage(
        {"scattering": benchmark_tables.scattering_block},
        {"Times and errors": benchmark_tables.scattering_table},
        "The coarse grid has Q from 0 to 30 1/Å in steps of 0.1 1/Å and r from 0 to 30 Å in steps of 0.1 Å. The fine "
        "grid has Q from 1 to 22 1/Å in steps of 0.01 1/Å and r from 0 to 50 Å in steps of 0.01 Å. Errors are relative "
        "to the largest value of the sum in double precision, or to the largest component of its gradient.",
        "benchmark_scattering.json",
    ),
    "benchmark_refinement": ResultPage(
        {"refinement": benchmark_tables.refinement_block},
        {"Fits": benchmark_tables.refinement_table, "Whole files": benchmark_tables.mining_table},
        "The excess is our Rw minus that of the other program; a negative value means that ours is lower.",
    ),
    "measured_pdfs": ResultPage(
        {"measured_pdfs": pdf_tables.measured_block},
        {
            "Best clusters": pdf_tables.measured_table,
            "Fitted values": pdf_tables.measured_parameters_table,
            "Messages": pdf_tables.measured_messages_table,
        },
        "Values are given with their standard errors.",
    ),
    "measured_pdfs_calibration": ResultPage(
        {"calibration": pdf_tables.calibration_block},
        {"Calibration of the weights": pdf_tables.calibration_table},
        "The 90 % set holds the candidates of largest weight whose weights add up to 90 %. The values after ± are "
        "standard errors.",
    ),
    "pdf_validation": ResultPage(
        {"pdf_validation": pdf_tables.validation_table},
        {"Assumptions of the fits": pdf_tables.validation_table},
        "The cases are described in `pdf_validation.py`.",
    ),
    "ensembles": ResultPage(
        {"ensembles": pdf_tables.ensembles_block},
        {
            "Decisions, sizes and types": pdf_tables.ensembles_table,
            "Shares of types": pdf_tables.ensemble_shares_sentence,
        },
        "Means and widths are compared for true widths of 10 to 30 %. Intervals are 90 % intervals.",
    ),
    "ensembles_searched": ResultPage(
        {"ensembles_searched": pdf_tables.decision_sentence},
        {"Decisions, sizes and types with searched particles": pdf_tables.ensembles_table},
        "The columns are those of [ensembles.md](ensembles.md).",
    ),
    "benchmark_ensembles": ResultPage(
        {"benchmark_ensembles": benchmark_tables.ensembles_block},
        {"Times and errors": benchmark_tables.ensembles_table},
        "The decision is made by `ensemble` fits up to three cuts. The series has 1000 samples whose mean grows, and "
        "is fitted a hundred at a time. The first call includes the compilation.",
    ),
    "unlisted_particles": ResultPage(
        {"unlisted_particles": pdf_tables.site_search_block},
        {
            "Parts": pdf_tables.site_search_table,
            "Kinds of particles, solved": pdf_tables.site_search_kinds_table,
            "Stacking": pdf_tables.stacking_table,
        },
        "A particle is solved if its number of atoms is exact and the mean error of its coordinates is below 0.1 Å. "
        "The spread is the standard deviation over seeds. W1 is the mean difference between the interatomic distances "
        "of both particles at equal quantiles. The interval is the 90 % interval of the number of atoms. Seconds are "
        "medians for one file. Those of scale, large, full, contracted and network were measured on shared cores. Of "
        "ten planned draws of each kind and seed, offrule and rules have four, full, contracted, network and screened "
        "have one, and the other parts have two.",
    ),
    "relaxed_particles": ResultPage(
        {"relaxed_particles": relaxed_tables.relaxed_block},
        {
            "Measures with targets": relaxed_tables.relaxed_block,
            "Single particles": relaxed_tables.relaxed_parts_table,
            "Kinds of particles of the library": relaxed_tables.relaxed_types_table,
            "Distributions": relaxed_tables.relaxed_samples_table,
            "Rejected particles": relaxed_tables.rejections_table,
        },
        "The Rw of the noise is that of the true curve without noise. W1 is the mean difference between the "
        "interatomic distances of both particles at equal quantiles. The amplitude is the factor on the displacements "
        "of the potential in the model, and it is 1 in particles that are fully relaxed. The strain is the root mean "
        "square displacement in units of the bond length. Intervals are 90 % intervals. A particle at a saddle point "
        "keeps its type only because the relaxation keeps its symmetry. Seconds are medians for one file.",
    ),
    "deepstruc": ResultPage(
        {"deepstruc": deepstruc_tables.deepstruc_block},
        {
            "Errors by type": deepstruc_tables.deepstruc_types_table,
            "Types in the latent plane": deepstruc_tables.deepstruc_latent_table,
            "Several draws for one PDF": deepstruc_tables.deepstruc_draws_table,
            "Comparison for each PDF": deepstruc_tables.deepstruc_paired_table,
            "Measured PDFs": deepstruc_tables.deepstruc_measured_table,
            "Share of hexagonal layers in the latent plane": deepstruc_tables.deepstruc_stacking_table,
        },
        "The error is the mean distance of the atoms from their true positions after the best rotation, mirror and "
        "pairing. Atoms without a partner are left out. The fit has a scale, a stretch and Uiso, and moves no atom. "
        "The spread is the standard deviation over PDFs. The nearest training PDF has the highest cosine after the "
        "scaling by the neighbour distance, and its structure is scaled and fitted in the same way. A refinement adds "
        "or removes whole layers of atoms if this lowers Rw, with the same number of fits for all structures. p is "
        "that of Wilcoxon's signed-rank test that the Rw of draws is lower. Two draws are "
        "different structures if their atoms differ in number or by more than 0.1 Å on average.",
    ),
    "imperfect_types": ResultPage(
        {"imperfect_types": imperfect_tables.types_table},
        {
            "Probabilities of types": imperfect_tables.types_table,
            "Wrong types": imperfect_tables.wrong_types_table,
        },
        "The log loss is the mean of -ln of the probability of the true type. All types have equal prior weights.",
    ),
    "imperfect_pdfs": ResultPage(
        {"imperfect_pdfs": imperfect_tables.screening_table},
        {"Selections of candidates": imperfect_tables.screening_table},
        "The best candidate is the one with the lowest Rw among all candidates. It is kept if it is among the "
        "candidates that are fitted after the selection. Seconds are medians on shared cores.",
    ),
    "imperfect_distributions": ResultPage(
        {"imperfect_distributions": imperfect_tables.distributions_table},
        {"Means and widths": imperfect_tables.distributions_table},
        "The true width is 10 to 30 %. Means and widths are weighted by volume. Intervals are 90 % intervals. Files of "
        "one seed have the same particles in all parts.",
    ),
    "benchmark_relaxation": ResultPage(
        {"benchmark_relaxation": benchmark_tables.relaxation_table},
        {"Fields and fits": benchmark_tables.relaxation_table},
        "Times are medians of five calls without compilation. Tables are the functions from which F(Q) of a cluster is "
        "computed.",
        "benchmark_relaxation.json",
    ),
    "benchmark_throughput": ResultPage(
        {"benchmark_throughput": benchmark_tables.throughput_table},
        {"Whole commands": benchmark_tables.throughput_table},
        "Times contain the start of the process. A first answer is the median of three runs.",
    ),
    "benchmark_sites": ResultPage(
        {"benchmark_sites": benchmark_tables.sites_block},
        {"Times": benchmark_tables.sites_table},
        "The lower bound is the time that NumPy needs to read the fields of all sites twice.",
    ),
    "deepstruc_list": ResultPage(
        {"deepstruc_list": pdf_tables.deepstruc_block},
        {"All structures": pdf_tables.deepstruc_table, "Types of the list": pdf_tables.deepstruc_types_table},
        "The list has 197 shapes with 19 bond lengths. In the part with all structures every structure is fitted, "
        "which changes no rank. Structures that fit equally well share a place, so that the truth is first with a "
        "probability of one half if two structures are tied.",
    ),
    "relax_refit": ResultPage(
        {"relax_refit": pdf_tables.relaxation_block},
        {"Misfits": pdf_tables.relaxation_table},
        "The value after ± is the standard deviation over draws of the noise.",
    ),
    "classifier_accuracy": ResultPage(
        {
            "classifier": classifier_tables.accuracy_block,
            "classifier_outliers": classifier_tables.outliers_block,
        },
        {
            "Simulated particles": classifier_tables.accuracy_table,
            "Random stacks": classifier_tables.stacks_sentence,
            "Calibration": classifier_tables.stream_table,
            "Ranks of the truths among posterior draws": classifier_tables.ranks_table,
            "Samples that are no particle of one metal": classifier_tables.outliers_block,
            "Measured files": classifier_tables.measured_table,
        },
        "The spread is the standard deviation over seeds of the particles. Spearman's correlation compares true and "
        "predicted shares of hexagonal layers; most particles but the random stacks have a share of exactly 0 or 1. "
        "The classifier is calibrated with PDFs of other seeds: the types by one temperature, the quantiles by the "
        "ranks of the truths. Truths are blurred by the smallest deviation that the network can output, because widths "
        "and shares are often exactly 0. The ranks are those of 1000 PDFs, and the band holds all 20 bins of even "
        "ranks in 99 % of cases. A PDF is reported as unlike the training if it is farther from it than 95 % of its "
        "PDFs, in features, as a mixture of two types, or by the qmax of the data.",
    ),
    "classifier_screening": ResultPage(
        {"classifier_screening": classifier_tables.screening_block},
        {
            "Parts": classifier_tables.screening_block,
            "Measured files": classifier_tables.screening_files_table,
        },
        "The effective number of draws is small if one cluster takes nearly all the weight.",
    ),
    "saxs_sphere": ResultPage(
        {"saxs_sphere": saxs_tables.sphere_block},
        {"Bias and coverage": saxs_tables.sphere_block},
        "The spread is the standard deviation over data sets.",
    ),
    "saxs_round_robin": ResultPage(
        {"saxs_round_robin": saxs_tables.round_robin_block},
        {"Populations": saxs_tables.round_robin_block},
        "Errors are those of each population if their number is right.",
    ),
    "saxs_populations": ResultPage(
        {"saxs_populations": saxs_tables.populations_block},
        {"Populations and bodies": saxs_tables.populations_block},
        "Chi-squared is divided by the number of degrees of freedom.",
    ),
    "series_changes": ResultPage(
        {"series_changes": series_tables.changes_block},
        {"Constant series": series_tables.constant_table, "Changes": series_tables.changes_table},
        "Heights are in standard deviations of the noise. Several series that are tested together share one rate of "
        "false alarms, so that each of them has a smaller one.",
    ),
    "saxs_shapes": ResultPage(
        {"saxs_shapes": saxs_tables.shapes_block},
        {"Bodies": saxs_tables.shapes_table},
        "The probability is that of the body that is named first.",
    ),
    "saxs_two_lengths": ResultPage(
        {"saxs_two_lengths": saxs_tables.two_lengths_block},
        {"Intervals": saxs_tables.two_lengths_table},
        "The shape is the aspect ratio, the thickness of the shell or the volume fraction of the hard spheres.",
    ),
    "benchmark_saxs": ResultPage(
        {"benchmark_saxs": benchmark_tables.saxs_block},
        {"Times": benchmark_tables.saxs_table},
        "Times are medians without compilation.",
    ),
    "benchmark_saxs_fits": ResultPage(
        {"benchmark_saxs_fits": benchmark_tables.saxs_fits_block},
        {"Times": benchmark_tables.saxs_fits_table},
        "Rates are medians without compilation; the first fit and the first result include it.",
    ),
    "table1_reconstruction": ResultPage(
        {"table1": network_tables.reconstruction_block},
        {
            "Reconstructions": network_tables.reconstruction_table,
            "Paired t-tests over seeds": network_tables.reconstruction_tests_table,
        },
        NETWORK_NOTE,
    ),
    "pdf_loss_ablation": ResultPage(
        {"ablation": network_tables.ablation_block},
        {
            "With and without the PDF term": network_tables.ablation_table,
            "Paired t-tests over seeds": network_tables.ablation_tests_table,
        },
        NETWORK_NOTE,
    ),
    "figure1_interpolation": ResultPage(
        {"figure1": network_tables.interpolation_block},
        {"Interpolation": network_tables.model_table},
        FIGURE_NOTE,
    ),
    "figure5_examples": ResultPage(
        {"figure5": network_tables.examples_sentence},
        {"Reconstructions of the test set": network_tables.model_table},
        FIGURE_NOTE,
    ),
    "figure6_satellites": ResultPage(
        {"figure6": network_tables.satellites_sentence},
        {"Errors": network_tables.satellites_table},
        "Errors are in units of the radius of the structure.",
        "figure6_satellites.json",
    ),
    "figure7_latent": ResultPage(
        {"figure7": network_tables.latent_sentence}, {"Neighbours": network_tables.model_table}, FIGURE_NOTE
    ),
    "figure8_samples": ResultPage(
        {"figure8": network_tables.samples_sentence},
        {"Ten draws for each PDF": network_tables.model_table},
        FIGURE_NOTE,
    ),
    "table2_trilateration": ResultPage(
        {"table2": network_tables.trilateration_block},
        {"Times and errors": network_tables.trilateration_table},
        "Errors are root mean squares in units of the radius of the structure. In rows with missing distances 10 % of "
        "them are missing, and in rows with outliers 5 % are wrong. The lowest possible error is the Cramér-Rao bound.",
        "table2_trilateration.json",
    ),
}
"""Tables of each experiment."""


def read_rows(experiment: str, results: Path) -> Rows:
    """Return the rows of an experiment, or no rows if it has not run."""
    path = results / (PAGES[experiment].rows or f"{experiment}.jsonl")
    if path.suffix == ".jsonl":
        return json_rows.read_lines(path)
    return json.loads(path.read_text("utf-8")) if path.exists() else []


def update_tables(text: str, results: Path) -> str:
    """Return the text of the README with each table made again from the rows in a folder.

    Raises:
        ValueError: If a marker is missing.
    """
    for experiment, page in PAGES.items():
        rows = read_rows(experiment, results)
        for marker, make_block in page.blocks.items():
            block = make_block(rows) if rows else "There are no results yet."
            pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- end -->)", re.DOTALL)
            if not pattern.search(text):
                raise ValueError(f"The README has no <!-- {marker} --> with <!-- end -->: add both.")
            text = pattern.sub(lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text, count=1)
    return text


def page_text(experiment: str, rows: Rows, results: Path) -> str:
    """Return the page of an experiment with its full tables and pictures."""
    page = PAGES[experiment]
    origin = origin_text(rows)
    pictures = [
        path for path in sorted(results.glob(f"{experiment}*.png")) if path.stem == experiment or path.stem not in PAGES
    ]
    parts = [
        f"# Full tables of {experiment}",
        f"[All experiments](../README.md). This page is written by `python experiments/results_tables.py` from "
        f"`{page.rows or experiment + '.jsonl'}`.",
        page.note,
        *([f"Origin of the rows: {origin}."] if origin else []),
        *(f"## {heading}\n\n{make_table(rows)}" for heading, make_table in page.tables.items()),
        *(f"![{path.stem}]({path.name})" for path in pictures),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the tables of the README and the pages of full tables."""
    results = FOLDER / "results"
    files.write_text(README, update_tables(README.read_text("utf-8"), results))
    for experiment in PAGES:
        if rows := read_rows(experiment, results):
            files.write_text(results / f"{experiment}.md", page_text(experiment, rows, results))


if __name__ == "__main__":
    main()
