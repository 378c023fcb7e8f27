import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from app.cli.data_dir import FREE_BYTES_MIN, held_data_dir, secret_key, write_private
from app.cli.failure import Failure

HOLDER = "import sys; from pathlib import Path; from app.cli.data_dir import held_data_dir\nwith held_data_dir(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"  # noqa: E501 (one program)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_new_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    with held_data_dir(tmp_path / "a" / "b") as folder:
        assert folder == (tmp_path / "a" / "b").resolve()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_second_market_on_one_folder_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stdout is not None
    assert first.stdout.readline() == b"held\n"
    try:
        with pytest.raises(Failure, match=rf"another market \(process {first.pid}\) runs in"), held_data_dir(tmp_path):
            pytest.fail("two markets in one folder")
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
        assert first.stdin is not None
        first.stdin.close()
    with held_data_dir(tmp_path):
        pass  # the lock of a killed market is no obstacle


def test_a_file_in_the_place_of_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "var"
    file.write_text("")
    with pytest.raises(Failure, match=r"cannot use .*var as the data directory: File exists"), held_data_dir(file):
        pytest.fail("that is a file")


def test_a_folder_nobody_can_make_is_refused() -> None:
    with pytest.raises(Failure, match="cannot use /proc/goodput"), held_data_dir(Path("/proc/goodput")):
        pytest.fail("/proc takes no folders")


def test_a_full_disk_is_refused_with_what_is_free_and_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(0, 0, FREE_BYTES_MIN - 1))
    with pytest.raises(Failure, match=r"only 255 MiB are free .* needs 256 MiB"), held_data_dir(tmp_path):
        pytest.fail("there is no room")


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    first = secret_key(tmp_path)
    assert len(bytes.fromhex(first)) == 32
    assert secret_key(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


def test_an_empty_secret_is_refused_rather_than_used(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("\n")
    with pytest.raises(Failure, match="secret_key is empty"):
        secret_key(tmp_path)


def test_a_private_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["credentials.json"]
