"""Checkpoints: published weights come back, bad files are refused by name, a failed write costs nothing."""

from __future__ import annotations

import errno
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")
pytest.importorskip("safetensors", reason="needs safetensors: pip install -r requirements/training.txt")

from training.checkpoints import (  # noqa: E402
    CheckpointError,
    load_network,
    main,
    read_checkpoint,
    save_checkpoint,
    save_published,
)
from training.models.depth_network import DepthNetwork, DepthNetworkConfig  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
TINY = DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8), max_depth=77.0)


@pytest.fixture
def network() -> DepthNetwork:
    torch.manual_seed(0)
    return DepthNetwork(TINY).to(memory_format=torch.channels_last).eval()


def same_weights(a: DepthNetwork, b: DepthNetwork) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class RunsCode:
    """What a malicious pickle does: name a function to be called when it is loaded."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.witness,)


def test_published_weights_rebuild_their_network(network: DepthNetwork, tmp_path) -> None:
    save_published(tmp_path / "a.safetensors", network)
    rebuilt = load_network(tmp_path / "a.safetensors")
    assert rebuilt.config == TINY
    assert same_weights(rebuilt, network)


def test_a_checkpoint_rebuilds_its_network(network: DepthNetwork, tmp_path) -> None:
    save_checkpoint(tmp_path / "a.pt", network, weights=network.state_dict())
    rebuilt = load_network(tmp_path / "a.pt")
    assert rebuilt.config == TINY
    assert same_weights(rebuilt, network)


def test_a_published_file_is_plain_safetensors_with_the_configuration_in_its_header(network, tmp_path) -> None:
    # The format by its specification: eight bytes of length, a JSON header, then the tensors.
    save_published(tmp_path / "a.safetensors", network)
    data = (tmp_path / "a.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header.pop("__metadata__")["depth_network_config"])
    assert config["encoder"] == "tiny"
    assert config["max_depth"] == 77.0
    assert header["head.weight"]["shape"] == [2, 8, 3, 3]
    assert header["head.weight"]["dtype"] == "F32"


def test_a_checkpoint_is_published_by_command(network: DepthNetwork, tmp_path) -> None:
    save_checkpoint(tmp_path / "last.pt", network, weights=network.state_dict(), training={"step": 3})
    main([str(tmp_path / "last.pt"), str(tmp_path / "street.safetensors")])
    assert same_weights(load_network(tmp_path / "street.safetensors"), network)


def test_published_weights_under_another_suffix_are_refused(network: DepthNetwork, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"a\.bin.*\.safetensors"):
        save_published(tmp_path / "a.bin", network)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_off_anywhere_is_named(network: DepthNetwork, tmp_path, suffix: str, part: float) -> None:
    path = tmp_path / f"a{suffix}"
    save_checkpoint(path, network, weights=network.state_dict())
    if suffix == ".safetensors":
        save_published(path, network)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(CheckpointError, match=rf"a{suffix}: not a (readable )?checkpoint"):
        load_network(path)


@pytest.mark.parametrize("content", [b"\x81\x02not weights", b"X\x03\x00\x00\x00\xff\xfe\xfd.", b"(J\x01"])
def test_bytes_that_are_no_weights_are_named_whatever_torch_makes_of_them(tmp_path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt: not a (readable )?checkpoint"):
        load_network(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "writer", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, writer) -> None:
    path, witness = tmp_path / "evil.pt", tmp_path / "witness"
    writer({"config": {}, "weights": RunsCode(witness)}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pt: .*was not loaded"):
        load_network(path)
    assert not witness.exists()


def test_a_checkpoint_of_another_program_is_refused(tmp_path) -> None:
    torch.save({"epoch": 3, "state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this package"):
        load_network(tmp_path / "other.pt")


def test_safetensors_of_another_program_are_refused(tmp_path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a checkpoint of this package"):
        load_network(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"encoder": "resnet9000"}, "cannot build.*resnet9000"),
        ({"encoder": "tiny", "wings": 2}, r"unknown keys \['wings'\]"),
        ({"encoder": "tiny", "decoder_channels": 5}, "cannot build"),
        ({"encoder": "tiny", "decoder_channels": [24, 16, 12]}, "cannot build.*3 levels, expected 4"),
        ({"encoder": "tiny", "decoder_channels": [10**6] * 4}, "cannot build.*from 1 to 4096"),
        ({"encoder": "tiny", "decoder_channels": [24.0, 16.0, 12.0, 8.0]}, "cannot build.*whole numbers"),
        ({"encoder": "tiny", "max_depth": "far"}, "max_depth is 'far', expected a number above 0"),
        ({"encoder": "tiny", "canonical_focal": float("nan")}, "canonical_focal is nan"),
        ({"encoder": "tiny", "min_depth": 200.0}, "expected the nearest below the farthest"),
        ({"encoder": "tiny", "confidence_tolerance": 0}, "expected a factor above 1"),
        (["tiny"], "'config' is a list"),
    ],
)
def test_a_configuration_that_this_version_cannot_build_is_named(tmp_path, config: object, message: str) -> None:
    torch.save({"config": config, "weights": {}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        load_network(tmp_path / "a.pt")


def test_weights_of_another_network_are_refused(network: DepthNetwork, tmp_path) -> None:
    other = DepthNetwork(DepthNetworkConfig(encoder="tiny", decoder_channels=(16, 12, 8, 8)))
    save_checkpoint(tmp_path / "a.pt", network, weights=other.state_dict())
    with pytest.raises(CheckpointError, match="do not fit"):
        load_network(tmp_path / "a.pt")


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"training\.train"):
        load_network(tmp_path / "none.pt")


def test_weights_that_are_no_state_dict_are_refused(network: DepthNetwork, tmp_path) -> None:
    save_checkpoint(tmp_path / "a.pt", network, weights=[1, 2, 3])  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="do not fit"):
        load_network(tmp_path / "a.pt")


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from training.checkpoints import CheckpointError, load_network, save_checkpoint, save_published
path = Path(sys.argv[1])
network = load_network(path)
# A file that grows past the limit gets an error from write(), as on a full disk, with half of it written.
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2,) * 2)
try:
    if path.suffix == ".pt":
        save_checkpoint(path, network, weights=network.state_dict())
    else:
        save_published(path, network)
except CheckpointError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_write_that_the_system_stops_half_way_leaves_the_last_good_file(network, tmp_path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save_checkpoint(path, network, weights=network.state_dict())
    if suffix == ".safetensors":
        save_published(path, network)
    good = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "cannot be written" in done.stderr
    assert "the one written before is kept" in done.stderr
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]
    assert same_weights(load_network(path), network)


def test_what_cannot_be_written_leaves_the_last_good_file(network: DepthNetwork, tmp_path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, network, weights=network.state_dict())
    good = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, network, weights={"cannot be written": lambda: None})
    assert path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_even_where_only_flushing_shows_it(network, tmp_path, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"a\.pt.*No space left on device"):
        save_checkpoint(tmp_path / "a.pt", network, weights=network.state_dict())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(network: DepthNetwork, tmp_path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"run/last\.pt: the checkpoint cannot be written"):
        save_checkpoint(tmp_path / "run" / "last.pt", network, weights=network.state_dict())


def test_a_resuming_checkpoint_keeps_its_training_state(network: DepthNetwork, tmp_path) -> None:
    training = {"step": 7, "average": {"w": torch.ones(2)}}
    save_checkpoint(tmp_path / "a.pt", network, weights=network.state_dict(), training=training)
    found = read_checkpoint(tmp_path / "a.pt")["training"]
    assert found["step"] == 7
    assert torch.equal(found["average"]["w"], torch.ones(2))
