import os

import numpy as np
import pytest
from written import assert_one_sentence

from jaxstruc.data import apart
from jaxstruc.data.text import ReadError


@pytest.fixture(scope="module", autouse=True)
def _ended():
    yield
    apart._end()


def asked(code):
    """Return what an expression is in the other process: of what is imported there, the simplest that does any harm."""
    return apart.call(eval, code)


def test_work_is_done_elsewhere_and_by_the_same_process_each_time():
    first, second = (asked("__import__('os').getpid()") for _ in range(2))
    assert first == second != os.getpid()


def test_errors_come_back_as_they_are():
    with pytest.raises(ZeroDivisionError):
        asked("1 / 0")
    assert asked("2 + 2") == 4


def test_a_process_that_was_ended_from_outside_is_started_again():
    asked("1")
    apart._process().kill()
    apart._process().wait()
    assert asked("2 + 2") == 4


def test_an_interrupted_answer_is_not_taken_for_the_next(monkeypatch):
    def interrupted(stream):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(apart, "_received", interrupted)
        asked("'old'")
    assert asked("'new'") == "new"


@pytest.mark.parametrize(("harm", "seconds"), [("__import__('os').abort()", 60), ("__import__('time').sleep(60)", 0.5)])
def test_a_crash_or_a_hang_is_one_line_and_the_next_file_is_read(harm, seconds, monkeypatch):
    asked("1")
    monkeypatch.setattr(apart, "LONGEST", seconds)
    with pytest.raises(ReadError, match=r"a sound file, got .* cannot be read to its end; export it again") as error:
        asked(harm)
    assert_one_sentence(error)
    monkeypatch.setattr(apart, "LONGEST", 60.0)
    assert asked("2 + 2") == 4


def test_answers_are_data_alone_and_come_back_as_they_were():
    """Arrays to the last bit, NaN and errors among them; what no JSON or array is, is refused on the other side."""
    given = [np.array([1.0, np.nan, 1e-300]), None, "Å", {"a": [1, 2.5]}, ReadError("Expected a, got b."), np.zeros(0)]
    back = apart.unpacked(apart.packed(given))
    np.testing.assert_array_equal(back[0], given[0])
    assert back[1:4] == given[1:4] and str(back[4]) == str(given[4]) and isinstance(back[4], ReadError)
    with pytest.raises(TypeError):
        asked("object()")
    assert asked("2 + 2") == 4
