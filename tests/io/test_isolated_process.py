import os
import signal
import threading

import numpy as np
import pytest
from measurement_files import assert_one_sentence

from jaxstruc.io import isolated_process
from jaxstruc.io.columns import ReadError


@pytest.fixture(scope="module", autouse=True)
def _end_worker():
    yield
    isolated_process._end_process()


def evaluate(expression, **options):
    """Return the value of an expression that the separate process evaluates."""
    return isolated_process.call(eval, expression, **options)


def test_one_other_process_does_all_work():
    first_pid, second_pid = (evaluate("__import__('os').getpid()") for _ in range(2))
    assert first_pid == second_pid != os.getpid()


def test_errors_come_back_as_they_are():
    with pytest.raises(ZeroDivisionError):
        evaluate("1 / 0")
    assert evaluate("2 + 2") == 4


def test_a_process_that_was_ended_from_outside_is_started_again():
    evaluate("1")
    isolated_process._worker_process().kill()
    isolated_process._worker_process().wait()
    assert evaluate("2 + 2") == 4


def test_an_interrupted_answer_is_not_taken_for_the_next():
    """The main process is interrupted while it waits for the first answer."""
    evaluate("1")
    previous_handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            evaluate("__import__('time').sleep(1) or 'old'")
    finally:
        timer.join()
        signal.signal(signal.SIGINT, previous_handler)
    assert evaluate("'new'") == "new"


@pytest.mark.parametrize(
    ("expression", "time_limit", "message"),
    [
        ("__import__('os').abort()", 60, r"an intact file, got .* cannot be read to its end; export it again"),
        ("__import__('time').sleep(60)", 0.5, r"a file that is read within 0\.5 s, got .*, which took longer; write"),
    ],
)
def test_a_crash_or_a_hang_is_one_line_and_the_next_file_is_read(expression, time_limit, message):
    evaluate("1")
    with pytest.raises(ReadError, match=message) as error:
        evaluate(expression, max_seconds=time_limit)
    assert_one_sentence(error)
    assert evaluate("2 + 2") == 4


def test_answers_are_plain_data_and_come_back_unchanged():
    """Arrays, NaN and errors come back to the last bit. Other objects are refused in the separate process."""
    values = [np.array([1.0, np.nan, 1e-300]), None, "Å", {"a": [1, 2.5]}, ReadError("Expected a, got b."), np.zeros(0)]
    unpacked_values = isolated_process.unpack_answer(isolated_process.pack_answer(values))
    np.testing.assert_array_equal(unpacked_values[0], values[0])
    assert (
        unpacked_values[1:4] == values[1:4]
        and str(unpacked_values[4]) == str(values[4])
        and isinstance(unpacked_values[4], ReadError)
    )
    with pytest.raises(TypeError):
        evaluate("object()")
    assert evaluate("2 + 2") == 4
