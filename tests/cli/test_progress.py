from jaxstruc.cli import progress


def test_a_bar_shows_from_its_first_call(capsys):
    with progress.progress_bar("Quiet"):
        pass
    assert capsys.readouterr().err.strip() == ""
    with progress.progress_bar("Working") as advance:
        advance(3, 7, "file.gr")
    output = capsys.readouterr().err
    assert "Working" in output and "3/7" in output and "file.gr" in output
