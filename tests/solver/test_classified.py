import jaxstruc
from jaxstruc.data.edge import Edge
from jaxstruc.network.endless import VALUES
from jaxstruc.network.naming import Named
from jaxstruc.solver import classified
from jaxstruc.statistics import Interval
from jaxstruc.structures.cuts import TYPES


def test_the_shipped_classifier_names_the_example(repository):
    """Ag68, cut from fcc: the type stands out, N's interval holds 68; the same alone and among others."""
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    alone = jaxstruc.classify(data, element="Ag")
    among = jaxstruc.classify([data, data._replace(g=-data.g)], element="Ag")
    assert alone.status == "solved" and next(iter(alone.types)) == "fcc" and alone.types["fcc"] > 0.5
    assert alone.intervals["n_atoms"].low < 68 < alone.intervals["n_atoms"].high
    assert alone.types == among[0].types and alone.intervals == among[0].intervals
    assert among[1].status == "weak" and "unlike all that it was trained on" in among[1].message
    assert "fcc" in str(alone) and "atoms (" in str(alone) and not alone.candidates


def test_an_answer_in_which_no_type_stands_out_is_weak(repository):
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    ready = jaxstruc.classify(data, element="Ag").settings
    own = Named(
        dict.fromkeys(TYPES, 1 / 7), dict.fromkeys(VALUES, Interval(1.0, 0.5, 2.0)), 0.5, 0.5, Edge(20.0, 0.0), None
    )
    found = classified.told(data._replace(settings=ready), own, element="Ag", bond=2.89, facts={})
    assert found.status == "weak" and found.message.startswith("type undecided between ")


def test_a_type_below_70_percent_is_undecided_and_one_below_50_weak(repository):
    data = jaxstruc.read(repository / "examples" / "Ag68_simulated.gr")
    ready = data._replace(settings=jaxstruc.classify(data, element="Ag").settings)
    intervals = dict.fromkeys(VALUES, Interval(1.0, 0.5, 2.0))
    for probability, status, message in ((0.71, "solved", ""), (0.69, "solved", "type undecided between hcp and fcc")):
        own = Named({"hcp": probability, "fcc": 1 - probability}, intervals, 0.5, 0.5, Edge(20.0, 0.0), None)
        found = classified.told(ready, own, element="Ag", bond=2.89, facts={})
        assert (found.status, found.type, found.type_probability) == (status, "hcp", probability)
        assert found.message == message
