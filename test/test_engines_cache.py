"""The cache of built engines: what is trusted, what is said where it is not, and what is removed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recon3d_ros.engines import EngineError
from recon3d_ros.engines.cache import (
    MIB,
    BuiltEngine,
    CacheMiss,
    EngineCache,
    Proof,
    UntrustedEngine,
    record_proof,
)
from recon3d_ros.engines.cache_folder import default_cache_dir, open_cache_folder
from recon3d_ros.engines.engine_key import EngineKey, GpuFacts

NOBODY = 65534
ORIN = GpuFacts("Orin", "8.7", "12.6")
KEY = EngineKey(
    model="street/lite 0",
    model_sha256="ab" * 32,
    backend="tensorrt",
    version="10.3.0",
    gpu=ORIN,
    precision="fp16",
    calibration="",
    profile={"image": [[1, 192, 640, 3], [4, 192, 640, 3], [4, 192, 640, 3]], "focal": [[1], [4], [4]]},
    flags={"dla_core": -1, "workspace_mb": 1024},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engines"


def store(cache: EngineCache, key: EngineKey = KEY, plan: bytes = b"an engine " * 20) -> BuiltEngine:
    return cache.store(BuiltEngine(plan, key, None, 12.5))


def as_nobody(work: Callable[[], None]) -> None:
    """Runs work as a user whom file modes bind, in a child process; the test's own user where that is no root."""
    if os.geteuid() != 0:
        work()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_what_was_stored_is_loaded_with_all_that_is_known_of_it(folder) -> None:
    built = store(EngineCache(folder))
    assert EngineCache(folder).load(KEY) == built
    assert built.path.name.startswith("street_lite_0-fp16-")
    proof = Proof(True, ("fp16: proved right", "ok     mean relative error"))
    record_proof(built, proof)
    assert EngineCache(folder).load(KEY) == replace(built, proof=proof)


def test_the_sidecar_says_all_of_the_key_and_the_files_sha256(folder) -> None:
    built = store(EngineCache(folder))
    sidecar = json.loads(built.path.with_suffix(".json").read_text())
    assert sidecar["key"]["gpu"] == {"name": "Orin", "compute_capability": "8.7", "driver_cuda": "12.6"}
    assert set(sidecar["key"]) == {
        *("model", "model_sha256", "backend", "version", "gpu", "precision", "calibration", "profile", "flags"),
    }
    assert sidecar["sha256"] == hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert sidecar["built_at"].endswith("+00:00")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_sha256": "cd" * 32},
        {"backend": "tensorrt_rtx"},
        {"version": "10.7.0"},
        {"gpu": replace(ORIN, name="Orin Nano")},
        {"gpu": replace(ORIN, compute_capability="8.9")},
        {"gpu": replace(ORIN, driver_cuda="12.8")},
        {"precision": "int8"},
        {"calibration": "ef" * 32},
        {"profile": {"image": [[1, 192, 640, 3]] * 3, "focal": [[1]] * 3}},
        {"flags": {"dla_core": 0, "workspace_mb": 1024}},
    ],
)
def test_each_part_of_the_key_makes_another_engine_and_is_named_in_the_reason(folder, changes) -> None:
    store(EngineCache(folder))
    [name] = changes
    with pytest.raises(CacheMiss, match=rf"street/lite 0 in the cache is of {name} .*, expected ") as miss:
        EngineCache(folder).load(replace(KEY, **changes))
    assert "\n" not in str(miss.value)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def tamper(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def take_from_another_gpu(path: Path) -> None:
    sidecar = path.with_suffix(".json")
    sidecar.write_text(sidecar.read_text().replace('"Orin"', '"Thor"'))


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "is truncated: 193 bytes, its sidecar says 200"),
        (tamper, "was changed after it was built: its sha256 is not its sidecar's"),
        (take_from_another_gpu, "is of gpu Thor,8.7,12.6, expected Orin,8.7,12.6"),
        (lambda path: path.with_suffix(".json").unlink(), "has no sidecar that can be read"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "has no sidecar that can be read"),
        (lambda path: path.with_suffix(".json").write_text("["), "has no sidecar that can be read"),
        (lambda path: path.with_suffix(".json").write_bytes(b"\xff"), "has no sidecar that can be read"),
        (remove, "no engine of street/lite 0 was built yet"),
    ],
)
def test_a_damaged_or_foreign_file_is_told_in_a_line_and_built_again(folder, damage, reason) -> None:
    cache = EngineCache(folder)
    damage(store(cache).path)
    with pytest.raises(CacheMiss, match=reason) as miss:
        cache.load(KEY)
    assert "\n" not in str(miss.value)
    assert isinstance(miss.value, UntrustedEngine) == (damage is not remove)
    store(cache)
    assert cache.load(KEY).plan == b"an engine " * 20


def test_an_engine_whose_sidecar_was_not_written_yet_is_not_trusted(folder) -> None:
    # A process killed between the two files, with an older engine of the same key there before.
    cache = EngineCache(folder)
    built = store(cache)
    built.path.write_bytes(b"another engine")
    with pytest.raises(CacheMiss, match="is truncated"):
        cache.load(KEY)


def test_parts_of_killed_builds_go_with_the_next_one(folder) -> None:
    cache = EngineCache(folder)
    left = folder / f".{KEY.stem}.engine.4711.partial"
    left.write_bytes(b"half an engine")
    with cache.lock(KEY) as has_waited:
        assert not has_waited
    assert not left.exists()


def test_the_engine_used_longest_ago_goes_where_the_limit_is_reached(folder, caplog) -> None:
    cache = EngineCache(folder, limit_mb=3)
    keys = [replace(KEY, model=name) for name in ("a", "b", "c", "d")]
    for age, key in enumerate(keys[:3]):
        os.utime(store(cache, key, bytes(MIB)).path, (1000 + age, 1000 + age))
    cache.load(keys[0])
    with caplog.at_level(logging.INFO):
        store(cache, keys[3], bytes(MIB))
    assert {entry.key.model for entry in cache.entries()} == {"a", "c", "d"}
    assert not list(folder.glob("b-*"))
    assert "the cache is limited to 3 MiB" in caplog.text


def test_the_engine_that_was_just_built_stays_however_large(folder) -> None:
    cache = EngineCache(folder, limit_mb=1)
    store(cache)
    built = store(cache, replace(KEY, model="large"), bytes(3 * MIB))
    assert [entry.key.model for entry in cache.entries()] == ["large"]
    assert cache.load(built.key).plan == built.plan


def test_clearing_removes_one_engine_or_all_that_the_cache_wrote_and_nothing_else(folder) -> None:
    cache = EngineCache(folder)
    other = replace(KEY, model="other")
    store(cache), store(cache, other), cache.write_blob("timing-x", b"x")
    (folder / "notes.txt").write_text("the user's")
    assert [path.stem for path in cache.clear({other.stem})] == [other.stem]
    assert [entry.key for entry in cache.entries()] == [KEY]
    cache.clear()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_blob_that_was_damaged_is_as_good_as_none(folder) -> None:
    cache = EngineCache(folder)
    cache.write_blob("timing", b"measured kernels")
    assert cache.read_blob("timing") == b"measured kernels"
    tamper(folder / "timing.blob")
    assert cache.read_blob("timing") == b""
    assert cache.read_blob("absent") == b""


def test_the_folder_is_its_users_alone(folder) -> None:
    old = os.umask(0)
    try:
        EngineCache(folder)
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(folder, mode) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(EngineError, match=rf"others can write to it \(mode {mode:04o}\); .*chmod 700"):
        EngineCache(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(folder) -> None:
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(EngineError, match=f"belongs to user {NOBODY}, not to 0"):
        EngineCache(folder)


def test_where_a_file_is_or_nothing_can_be_made_the_folder_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "engines"):
        with pytest.raises(EngineError, match=r"cannot be made or read .*; give another folder"):
            open_cache_folder(path)


def test_a_read_only_folder_serves_its_engines_and_new_ones_are_held_in_memory(tmp_path, caplog) -> None:
    folder = Path("/tmp") / f"recon3d-read-only-{os.getpid()}"  # pytest's own folders are closed to other users
    built = store(EngineCache(folder))
    other = replace(KEY, model="other")
    folder.chmod(0o555)
    built.path.chmod(0o444)

    def work() -> None:
        cache = EngineCache(folder)
        assert cache.load(KEY) == built
        with cache.lock(other) as has_waited:
            assert not has_waited
        with caplog.at_level(logging.WARNING):
            held = store(cache, other)
        assert (held.path, held.plan) == (None, built.plan)
        assert "cannot be kept (Permission denied) and will be built again at the next start" in caplog.text
        assert record_proof(held, Proof(True, ())).proof.is_good
        record_proof(built, Proof(True, ()))
        cache.write_blob("timing", b"x")
        assert [entry.key for entry in cache.entries()] == [KEY]

    try:
        as_nobody(work)
    finally:
        folder.chmod(0o700)
        EngineCache(folder).clear()
        folder.rmdir()


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # as for a user id that no passwd file knows
    with pytest.raises(EngineError, match=r"there is no home folder to keep built engines in .*; give a folder"):
        open_cache_folder()


def test_the_default_folder_follows_xdg(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "recon3d_ros" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/void")  # XDG base directory specification
    monkeypatch.setenv("HOME", "/home/driver")
    assert default_cache_dir() == Path("/home/driver/.cache/recon3d_ros/engines")
