"""Which candidates are fitted: those that are probable at a glance, and of these the best of a rough fit."""

from collections.abc import Sequence

import numpy as np

from jaxstruc.inference import profile, screening, target
from jaxstruc.inference.candidates import Candidates, Pool
from jaxstruc.inference.glance import ClassifierPrior
from jaxstruc.inference.screening import Bins
from jaxstruc.inference.target import Target
from jaxstruc.solver import glances
from jaxstruc.solver.glances import Look


def most(look: Look | None, group: Candidates) -> int:
    """Return how many candidates of a group are fitted."""
    known = look is not None and not look.outside and group.source == "library"
    return screening.AT_A_GLANCE if known else screening.SCREENED


def probable(look: Look | None, groups: Sequence[Candidates]) -> list[Candidates]:
    """Return groups with those candidates of a library that are probable at a glance, as many as are fitted at least.

    All stay where it says nothing.
    """
    if look is None or look.outside:
        return list(groups)
    return [
        group._replace(rows=glances.kept(look, group, least=most(look, group))) if group.source == "library" else group
        for group in groups
    ]


def screens(
    groups: Sequence[Candidates],
    few: Sequence[Candidates],
    goal: Target,
    kept: dict[int, Bins],
    *,
    look: Look | None,
) -> list[Bins | None]:
    """Return the binned distances of the candidates of libraries that are more than are fitted, or tried for settings.

    Draws of a network, new ones for each measurement, are all fitted.

    Args:
        groups: candidates of each source.
        few: those of them that are probable.
        goal: the data.
        kept: bins of whole libraries by their identity, for the next measurement.
        look: what the classifier says.
    """
    found: list[Bins | None] = []
    for group, own in zip(groups, few, strict=True):
        enough = most(look, group) if len(own.rows) == len(group.rows) else profile.USED
        if group.source == "network" or len(own.rows) <= enough:
            found.append(None)
            continue
        if id(group.library) not in kept:
            kept[id(group.library)] = screening.bins(group.library, group.rows, bond=goal.bond, span=goal.span)
        every = kept[id(group.library)]
        found.append(every if len(own.rows) == len(group.rows) else screening.some(every, own.rows))
    return found


def screened(group: Candidates, screen: Bins | None, goal: Target, *, most: int) -> tuple[Candidates, np.ndarray]:
    """Return the candidates of a group that are worth fitting, and the rows that are worth a judge's try."""
    if screen is None:
        return group, group.rows
    misfits = screening.misfits(screen, goal.basis)
    fitted, tried = (screening.chosen(screen, misfits, most=each) for each in (most, screening.TRIED_FURTHER))
    return group._replace(rows=fitted), tried


def few(group: Candidates, screen: Bins | None, goal: Target) -> Candidates:
    """Return candidates that fit well whatever the qmin."""
    if screen is None:
        return group._replace(rows=group.rows[: profile.USED])
    waves = target.low_waves(goal, lowest=min(profile.LOWEST, goal.qmin), to=profile.TRIED["qmin"][-1])
    misfits = screening.misfits(screen, goal.basis, without=waves)
    return group._replace(rows=screening.chosen(screen, misfits, most=profile.USED))


def glance(
    look: Look | None, groups: Sequence[Candidates], few: Sequence[Candidates], pool: Pool, weight: np.ndarray
) -> ClassifierPrior | None:
    """Return what was seen of a library at a glance, and how the fits agree; None where there was none."""
    if look is None:
        return None
    for group, own in zip(groups, few, strict=True):
        if group.source == "library":
            of = np.array([one.library is group.library for one in pool.groups])[pool.group]
            rows = np.array([pool.entry(at)[1] for at in np.flatnonzero(of).tolist()], np.intp)
            return glances.told(look, group, len(own.rows), rows, weight[of])
    return None


def unasked(look: Look | None, missing: str) -> list[str]:
    """Return why there is no classifier, or why it was not followed."""
    if missing:
        return [missing]
    return [f"not screened: {', '.join(look.outside)}"] if look and look.outside else []
