import threading

import numpy as np
import threadpoolctl

from jaxstruc.blas import with_one_blas_thread


def count_blas_threads():
    return [entry["num_threads"] for entry in threadpoolctl.threadpool_info() if entry["user_api"] == "blas"]


def test_each_python_thread_has_one_blas_thread_until_the_last_call_ends():
    first_ends, both_run = threading.Event(), threading.Barrier(2, timeout=20)
    counts = {}

    @with_one_blas_thread
    def call(name, end):
        both_run.wait()
        end.wait(20)
        counts[name] = count_blas_threads()
        np.ones((4, 4)) @ np.ones((4, 4))

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = count_blas_threads()
    last_ends = threading.Event()
    threads = [
        threading.Thread(target=call, args=("first", first_ends)),
        threading.Thread(target=call, args=("last", last_ends)),
    ]
    with threadpoolctl.threadpool_limits(2, "blas"):
        for thread in threads:
            thread.start()
        first_ends.set()
        threads[0].join()
        last_ends.set()
        threads[1].join()
        after = count_blas_threads()
    assert counts == {"first": [1] * len(before), "last": [1] * len(before)} and after == before
