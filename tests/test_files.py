import pytest

from jaxstruc import files


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "new" / "folder" / "x.txt"
    files.write_text(path, "before")
    with pytest.raises(KeyboardInterrupt), files.atomic_replacement(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]
    files.write_text(path, "after")
    assert path.read_text() == "after"


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSTRUC_CACHE", str(tmp_path / "own"))
    assert files.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("JAXSTRUC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "jaxstruc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / ".cache" / "jaxstruc"
