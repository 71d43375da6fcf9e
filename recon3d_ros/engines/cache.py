"""The cache of built engines: what an engine depends on, and whether a file may be trusted to be that engine.

An engine is code that runs with the node's rights. The folder is therefore its user's alone, each engine has a
sidecar that says all that it was built for, and a file that does not fit its sidecar is built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from recon3d_ros.core.atomic_file import open_atomically, write_json
from recon3d_ros.engines.cache_folder import open_cache_folder
from recon3d_ros.engines.engine_key import EngineKey, GpuFacts, differences, differing

log = logging.getLogger(__name__)
MIB = 2**20


@dataclass(frozen=True)
class Proof:
    """What recon3d_ros.engines.check said of a built engine: the verdict and its lines."""

    is_good: bool
    lines: tuple[str, ...]


@dataclass(frozen=True)
class BuiltEngine:
    """A built engine, verified to be the one that was asked for.

    Attributes:
        plan: the serialised engine.
        key: all that it depends on.
        path: its file; None where the cache folder is read-only and it is held in memory alone.
        build_seconds: what the build took, when it was built.
        proof: what the check of its answers said; None where it was not checked yet. An engine that failed
            stays in the cache, so that it is not built again at each start only to fail again.
    """

    plan: bytes
    key: EngineKey
    path: Path | None
    build_seconds: float
    proof: Proof | None = None


@dataclass(frozen=True)
class CacheEntry:
    """One line of `recon3d engine list`: what a sidecar says, read without its engine."""

    path: Path
    key: EngineKey
    size: int
    sha256: str
    built_at: str
    build_seconds: float
    proof: Proof | None


class CacheMiss(Exception):
    """An engine that is absent, or is not trusted; its text says why, in a line."""


class UntrustedEngine(CacheMiss):
    """An engine file that is there, and is damaged, foreign or changed."""


class EngineCache:
    """A folder of built engines: `<stem>.engine`, its sidecar `<stem>.json`, and blobs that only save time.

    Raises:
        EngineError: see recon3d_ros.engines.cache_folder.open_cache_folder.
    """

    def __init__(self, folder: Path | str = "", *, limit_mb: int = 2048) -> None:
        self.folder = open_cache_folder(folder)
        self.limit_mb = limit_mb

    def load(self, key: EngineKey) -> BuiltEngine:
        """Returns the engine of a key, and marks it as used.

        Raises:
            CacheMiss: it is absent.
            UntrustedEngine: it is truncated, foreign or changed.
        """
        path = self.folder / f"{key.stem}.engine"
        if not path.is_file():
            raise CacheMiss(self._why_absent(key))
        try:
            entry = read_entry(path)
            plan = path.read_bytes()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UntrustedEngine(f"{path.name} has no sidecar that can be read ({error})") from error
        if entry.key != key:
            raise UntrustedEngine(f"{path.name} is of {differences(entry.key, key)}")
        if len(plan) != entry.size:
            raise UntrustedEngine(f"{path.name} is truncated: {len(plan)} bytes, its sidecar says {entry.size}")
        if hashlib.sha256(plan).hexdigest() != entry.sha256:
            raise UntrustedEngine(f"{path.name} was changed after it was built: its sha256 is not its sidecar's")
        with contextlib.suppress(OSError):  # a read-only folder keeps no order of use
            os.utime(path)
        return BuiltEngine(plan, key, path, entry.build_seconds, entry.proof)

    def store(self, built: BuiltEngine) -> BuiltEngine:
        """Writes an engine and then its sidecar, and removes those used longest ago beyond the size limit.

        Returns:
            The engine with its path; without one where the folder cannot be written, which a warning says: the
            engine is right all the same, and only the next start pays for it.
        """
        path = self.folder / f"{built.key.stem}.engine"
        try:
            with open_atomically(path) as file:
                file.write(built.plan)
            _write_sidecar(path, built, datetime.now(timezone.utc).isoformat(timespec="seconds"))
        except OSError as error:
            log.warning(
                f"{self.folder}: the built engine cannot be kept ({error.strerror}) and will be built again at "
                f"the next start; give a folder that can be written and has {len(built.plan) // MIB + 1} MiB"
            )
            return replace(built, path=None)
        self._trim(keep=path)
        return replace(built, path=path)

    def entries(self) -> list[CacheEntry]:
        """Returns what is in the cache by its sidecars, that used last first."""
        entries = []
        for path in sorted(self.folder.glob("*.engine"), key=_last_used, reverse=True):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                entries.append(read_entry(path))
        return entries

    def clear(self, stems: set[str] | None = None) -> list[Path]:
        """Removes the engines of these stems, or everything that the cache wrote; returns the engines removed."""
        engines = [path for path in sorted(self.folder.glob("*.engine")) if stems is None or path.stem in stems]
        for path in engines:
            self._remove(path)
        if stems is None:
            for pattern in ("*.json", "*.blob", "*.lock", ".*.partial"):
                for path in self.folder.glob(pattern):
                    path.unlink(missing_ok=True)
        return engines

    @contextlib.contextmanager
    def lock(self, key: EngineKey) -> Iterator[bool]:
        """Holds the right to build an engine; yields whether another process had it meanwhile.

        The kernel frees the lock of a process that dies, so a killed build blocks nobody.
        """
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(self.folder / f"{key.stem}.lock", "a"))
            except OSError:  # a read-only folder: each process builds for itself
                yield False
                return
            has_waited = False
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                has_waited = True
                log.info(f"another process builds {key.stem}; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            for path in self.folder.glob(f".{key.stem}.*.partial"):  # of a build that was killed
                path.unlink(missing_ok=True)
            yield has_waited

    def read_blob(self, name: str) -> bytes:
        """Returns what write_blob kept; b"" where it is absent or damaged. It only ever saves time."""
        try:
            content = (self.folder / f"{name}.blob").read_bytes()
        except OSError:
            return b""
        digest, blob = content[:32], content[32:]
        return blob if hashlib.sha256(blob).digest() == digest else b""

    def write_blob(self, name: str, blob: bytes) -> None:
        """Keeps what speeds up the next build or start: a timing cache, or kernels compiled on the device."""
        if not blob or self.read_blob(name) == blob:
            return
        with contextlib.suppress(OSError), open_atomically(self.folder / f"{name}.blob") as file:
            file.write(hashlib.sha256(blob).digest() + blob)

    def _why_absent(self, key: EngineKey) -> str:
        """Returns a line that names the nearest engine of the model, so that a rebuild explains itself."""
        others = [entry.key for entry in self.entries() if entry.key.model == key.model]
        if not others:
            return f"no engine of {key.model} was built yet"
        nearest = min(others, key=lambda other: len(differing(other, key)))
        return f"the engine of {key.model} in the cache is of {differences(nearest, key)}"

    def _trim(self, *, keep: Path) -> None:
        engines = sorted(self.folder.glob("*.engine"), key=_last_used)
        sizes = {path: _size(path) for path in engines}
        total = sum(sizes.values())
        for path in engines:
            if total <= self.limit_mb * MIB:
                return
            if path != keep:
                total -= sizes[path]
                log.info(f"engine cache: {path.name} goes, the cache is limited to {self.limit_mb} MiB")
                self._remove(path)

    def _remove(self, path: Path) -> None:
        for suffix in (".engine", ".json", ".lock", ".blob"):
            path.with_suffix(suffix).unlink(missing_ok=True)


def read_entry(path: Path) -> CacheEntry:
    """Returns what the sidecar of an engine file says.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is absent or is no sidecar.
    """
    content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    key = {**content["key"], "gpu": GpuFacts(**content["key"]["gpu"])}
    proof = content["proof"]
    return CacheEntry(
        path=path,
        key=EngineKey(**key),
        size=int(content["size"]),
        sha256=str(content["sha256"]),
        built_at=str(content["built_at"]),
        build_seconds=float(content["build_seconds"]),
        proof=None if proof is None else Proof(bool(proof["is_good"]), tuple(map(str, proof["lines"]))),
    )


def record_proof(built: BuiltEngine, proof: Proof) -> BuiltEngine:
    """Returns the engine with what its check said, which is written to its sidecar too where that can be."""
    built = replace(built, proof=proof)
    if built.path is not None:
        with contextlib.suppress(OSError):  # a read-only folder: the check is made again at the next start
            _write_sidecar(built.path, built, read_entry(built.path).built_at)
    return built


def _write_sidecar(path: Path, built: BuiltEngine, built_at: str) -> None:
    write_json(
        path.with_suffix(".json"),
        {
            "key": built.key,
            "size": len(built.plan),
            "sha256": hashlib.sha256(built.plan).hexdigest(),
            "built_at": built_at,
            "build_seconds": built.build_seconds,
            "proof": built.proof,
        },
    )


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed by another process meanwhile
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
