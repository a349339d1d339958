"""Train the detector of light-atom shells that `jaxstruc classify` uses, and write its weights and card.

    python tools/train_shell_detector.py -o runs/shells --steps 1500     (about half an hour on two cores; resumes)

The last step writes `weights.safetensors` and `weights.json` into the folder. To ship them, copy them to
`jaxstruc/network/shipped/shell_detector.safetensors` and `.json`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jax

import jaxstruc
from jaxstruc import files
from jaxstruc.clusters import library
from jaxstruc.network import weights
from jaxstruc.network.classifier import shell_detector, training
from jaxstruc.network.classifier.shell_detector import N_PDFS, ShellDetector
from jaxstruc.network.classifier.training import TrainingTask
from jaxstruc.network.weights import TrainedShellDetector
from jaxstruc.options.training import TrainClassifierOptions

N_PARTICLES, N_TEST_PARTICLES = 4000, 1000
"""Number of particles of the training and of the tests."""
TEST_SEED = 10**6
"""Seed of the particles and the PDFs of the tests."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the detector, evaluate it on held-out clusters, and write the weights with their card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the training")
    parser.add_argument("--steps", type=int, default=1500, help=f"number of steps of {N_PDFS} PDFs [1500]")
    parser.add_argument("--particles", type=int, default=N_PARTICLES, help=f"number of particles [{N_PARTICLES}]")
    options = parser.parse_args(arguments)
    particles_path = options.out / "particles.txt"
    if particles_path.exists() and int(particles_path.read_text("utf-8")) != options.particles:
        parser.error(f"expected --particles {particles_path.read_text('utf-8')} as at the start, or another --out")
    files.write_text(particles_path, str(options.particles))
    config = TrainClassifierOptions(steps=options.steps, rate=0.002, averaged=0.995)
    clusters, module = library.load_or_build(), ShellDetector()
    task = TrainingTask(module, shell_detector.simulate_shells, shell_detector.shell_loss)
    particles = shell_detector.shelled_particles(clusters, n_particles=options.particles, seed=config.seed)
    params, metrics = training.train_classifier(
        particles, config, folder=options.out, task=task,
        report_progress=lambda step, metrics: print(step, metrics, flush=True),
    )  # fmt: skip
    test_particles = shell_detector.shelled_particles(
        clusters, n_particles=min(options.particles, N_TEST_PARTICLES), seed=TEST_SEED, is_held_out=True
    )
    tests = shell_detector.evaluate_detector(params, test_particles, seed=TEST_SEED, module=module)
    card = {
        "name": f"shell-detector-seed{config.seed}",
        "command": f"python tools/train_shell_detector.py --steps {options.steps} --particles {options.particles}",
        "versions": {package.__name__: package.__version__ for package in (jaxstruc, jax)},
        "config": asdict(config),
        "pdfs": config.steps * N_PDFS,
        "metrics": metrics,
        **tests,
    }
    weights.save_shell_detector(options.out / "weights.safetensors", TrainedShellDetector(params, module, card))
    print(tests)


if __name__ == "__main__":
    main()
