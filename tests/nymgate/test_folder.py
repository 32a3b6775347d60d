"""The data folder: whose it is, and that one instance has it."""

import os
import stat

import pytest

from nymgate.errors import DataFolderError, ExitCode, StoreBusy
from nymgate.folder_io import LOCK_NAME, held_folder


def test_it_is_for_this_user_only(tmp_path):
    folder = tmp_path / "share" / "nymgate" / "mainnet"
    with held_folder(folder):
        for private in (folder, folder.parent):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / LOCK_NAME).stat().st_mode) == 0o600


def test_one_instance_has_it_from_start_to_end(tmp_path):
    with held_folder(tmp_path / "a"):
        with (
            pytest.raises(StoreBusy, match=f"in use by process {os.getpid()}") as caught,
            held_folder(tmp_path / "a"),
        ):
            pass
        assert caught.value.exit_code is ExitCode.BUSY
        with held_folder(tmp_path / "b"):
            pass
    with held_folder(tmp_path / "a"):
        pass


def test_one_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="cannot be made"), held_folder(tmp_path / "file" / "folder"):
        pass
