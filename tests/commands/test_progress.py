from jaxstruc.commands import progress


def test_a_bar_shows_from_its_first_call(capsys):
    with progress.bar("Quiet"):
        pass
    assert capsys.readouterr().err.strip() == ""
    with progress.bar("Working") as advance:
        advance(3, 7, "file.gr")
    shown = capsys.readouterr().err
    assert "Working" in shown and "3/7" in shown and "file.gr" in shown
