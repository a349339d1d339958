import threading

import pytest

from jaxstruc import devices


def test_values_come_in_the_order_of_the_items_and_calls_overlap():
    barrier, threads = threading.Barrier(2, timeout=20), set()

    def call(item):
        threads.add(threading.current_thread())
        if item:  # the first call is alone; the others only return if two of them run at once
            barrier.wait()
        return 10 * item

    assert list(devices.map_in_order(call, range(5), n_devices=2)) == [0, 10, 20, 30, 40]
    assert threading.main_thread() in threads and len(threads) == 3


def test_items_are_taken_when_a_call_can_begin():
    started_items = []

    def items():
        for item in range(20):
            started_items.append(item)
            yield item

    values = devices.map_in_order(lambda item: item, items(), n_devices=2)
    assert [next(values), next(values)] == [0, 1]
    assert len(started_items) <= 5
    values.close()
    assert len(started_items) <= 5


def test_one_device_needs_no_thread():
    main_thread = threading.current_thread()
    assert all(devices.map_in_order(lambda _: threading.current_thread() is main_thread, range(3), n_devices=1))


def test_an_error_ends_the_work():
    with pytest.raises(ZeroDivisionError):
        list(devices.map_in_order(lambda item: 1 / (2 - item), range(6), n_devices=2))


def test_a_cpu_has_at_most_four_workers():
    assert 1 <= devices.count_devices() <= devices.MAX_CPU_WORKERS
