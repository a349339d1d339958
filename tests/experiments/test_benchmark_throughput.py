import pytest

import jaxstruc


def test_simulated_files_are_read_with_their_settings(experiments, tmp_path):
    import benchmark_throughput as benchmark

    paths = benchmark.write_files(tmp_path / "pdf", "classify", 52, 0)
    first, copied, other = (jaxstruc.read(paths[number]) for number in (0, 50, 1))
    assert first.header["qmax"] == 24 and 0.6 <= first.header["qmin"] <= 1.2 and len(first.r) == 571
    assert copied.sha256 == first.sha256 != other.sha256
    (path,) = benchmark.write_files(tmp_path / "saxs", "saxs", 1, 3)
    curve = jaxstruc.read(path)
    assert curve.kind == "iq" and len(curve.q) == 200 and (curve.sigma > 0).all()


@pytest.mark.long
def test_commands_are_timed(experiments, capsys):
    import benchmark_throughput as benchmark

    benchmark.main(["--quick", "mine --ensemble none", "mine, two shards", "classify", "saxs", "first, programs kept"])
    assert capsys.readouterr().out.count('"seconds"') == 5


def test_a_failed_command_is_an_error(experiments, tmp_path):
    import benchmark_throughput as benchmark

    with pytest.raises(RuntimeError, match="got 2: jaxstruc: Expected tables with the results of shards"):
        benchmark.run([("-m", "jaxstruc", "merge", tmp_path)], tmp_path)
