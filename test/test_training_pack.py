"""Packed drives: what comes out is what went in, within stated errors and a limit of bytes, or one clear error."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path

import cv2
import drives
import numpy as np
import pytest
import recordings
from toy_shards import write_toy_shards

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from recon3d_ros.core.camera import CameraModel  # noqa: E402
from training.datasets import Frame, FrameSamples, ShardFrames, augment_geometry, crop_frame, open_frames  # noqa: E402
from training.datasets.depth_codes import decode_points, encode_points  # noqa: E402
from training.datasets.files import DatasetError  # noqa: E402
from training.datasets.packed import FORMAT, PACK_NAME, PackedFrames, pack_frame, unpack_frame  # noqa: E402
from training.pack import main, pack, report  # noqa: E402
from training.stream import parse_source  # noqa: E402
from training.thinning import PackError, evenly, fit_frame  # noqa: E402

WIDTH, HEIGHT = 160, 90
FX, FY, CX, CY = 120.0, 124.0, 74.5, 41.25
CROP = {"width": 96, "height": 32}


def make_points(seed: int) -> np.ndarray:
    """Returns 400 returns between 2 and 80 m in the lower two thirds of the picture, (400, 3) metres."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(0, WIDTH - 1, 400), rng.uniform(30, HEIGHT - 1, 400)
    z = np.exp(rng.uniform(np.log(2), np.log(80), 400))
    return np.stack([(u - CX) / FX * z, (v - CY) / FY * z, z], axis=1)


def write_lidar_drive(folder: Path, count: int) -> Path:
    """Writes a drive whose picture's brightness is 20 plus five times its number, with noise that takes bytes."""
    for name in ("image", "lidar"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 4, (HEIGHT, WIDTH, 3))
        cv2.imwrite(
            str(folder / f"image/{number:06d}.png"), np.clip(20 + 5 * number + noise, 0, 255).astype(np.uint8)
        )
        sweep = np.hstack([make_points(number), np.zeros((400, 1))]).astype(np.float32)
        np.save(folder / f"lidar/{number:06d}.npy", sweep)
    calibration = {"width": WIDTH, "height": HEIGHT, "K": [[FX, 0, CX], [0, FY, CY], [0, 0, 1]]}
    (folder / "calibration.json").write_text(json.dumps({**calibration, "T_camera_lidar": np.eye(4).tolist()}))
    return folder


def moments(frames: PackedFrames) -> list[list[int]]:
    """Returns the numbers of each drive's packed frames, as their pictures' brightness says."""
    numbers = [round((float(frames[index].image.mean()) - 20) / 5) for index in range(len(frames))]
    ends = np.cumsum([drive.frames for drive in frames.drives])
    return [list(part) for part in np.split(np.array(numbers), ends[:-1])]


def sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def frame_of(points: np.ndarray) -> Frame:
    camera = CameraModel(WIDTH, HEIGHT, FX, FY, CX, CY)
    depth = np.full((HEIGHT, WIDTH), np.nan, dtype=np.float32)
    return Frame(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8), depth, camera, points.astype(np.float32))


def test_returns_keep_their_pixel_to_a_quarter_and_their_depth_to_a_hundredth() -> None:
    points = make_points(3)
    u, v = points[:, 0] / points[:, 2] * FX + CX, points[:, 1] / points[:, 2] * FY + CY
    far_apart = [
        index
        for index in range(len(u))
        if np.hypot(u - u[index], v - v[index])[np.arange(len(u)) != index].min() > 2
    ]
    assert len(far_apart) > 100
    points, u, v = points[far_apart], u[far_apart], v[far_apart]
    camera = CameraModel(WIDTH, HEIGHT, FX, FY, CX, CY)
    data, count = encode_points(points.astype(np.float32), camera)
    assert count == len(points)
    assert len(data) < 5 * count
    read = decode_points(data, count, camera)
    read_u, read_v = read[:, 0] / read[:, 2] * FX + CX, read[:, 1] / read[:, 2] * FY + CY
    for x, y, z in zip(u, v, points[:, 2], strict=True):
        nearest = np.argmin(np.hypot(read_u - x, read_v - y))
        assert abs(read_u[nearest] - x) < 0.26
        assert abs(read_v[nearest] - y) < 0.26
        assert abs(read[nearest, 2] - z) < max(0.02, 0.01 * z)
        assert abs(read[nearest, 2] / z - 1) < 0.005


def test_each_pixel_of_the_packed_picture_has_the_depth_it_would_have_had() -> None:
    frame = frame_of(make_points(5))
    small = fit_frame(frame, **CROP)
    packed = unpack_frame(pack_frame(small, 0, quality=90))
    np.testing.assert_array_equal(np.isnan(packed.depth), np.isnan(small.depth))
    np.testing.assert_allclose(packed.depth, small.depth, rtol=0.005)


def test_a_bright_spot_lies_where_the_packed_camera_projects_its_return() -> None:
    frame = frame_of(make_points(1))
    u, v, z = 121, 66, 12.0
    frame.image[v - 2 : v + 3, u - 2 : u + 3] = 255
    points = np.vstack([frame.points, [(u - CX) / FX * z, (v - CY) / FY * z, z]])
    for zoom in (0.5, 0.9):
        packed = unpack_frame(pack_frame(fit_frame(frame_of(points), **CROP, zoom=zoom), 0, quality=95))
        small = fit_frame(frame, **CROP, zoom=zoom)
        spot = np.argwhere(unpack_frame(pack_frame(small, 0, quality=95)).image[..., 0] > 128).mean(axis=0)
        camera = packed.camera
        x, y, _ = points[-1] / z
        assert (camera.fy * y + camera.cy, camera.fx * x + camera.cx) == pytest.approx(tuple(spot), abs=0.5)
        depth = packed.depth[round(float(spot[0])), round(float(spot[1]))]
        assert depth <= z * 1.005  # another return of the pixel may be nearer


def test_pictures_stay_close_to_the_originals() -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frame = frame_of(make_points(2))
    frame.image[:] = np.stack([columns, rows * 2, 128 + 60 * np.sin(columns / 7)], axis=-1).astype(np.uint8)
    small = fit_frame(frame, **CROP, zoom=0.5)
    packed = unpack_frame(pack_frame(small, 0, quality=80))
    noise = float(np.mean((packed.image.astype(float) - small.image) ** 2))
    assert 10 * np.log10(255**2 / noise) > 32


def test_dense_depth_keeps_sky_and_the_unknown(tmp_path: Path) -> None:
    folder = write_toy_shards(tmp_path / "shards")
    depths = np.load(folder / "shard_00000/depths.npy")
    depths[:, 50, 40:60] = np.nan
    np.save(folder / "shard_00000/depths.npy", depths)
    packed = pack([str(folder)], tmp_path / "pack", limit=200_000, width=128, height=64, zoom=1.0)
    frames = ShardFrames([folder])
    assert len(packed) == len(frames) == 4
    for index in range(4):
        assert packed[index].points is None
        assert packed[index].camera.K == pytest.approx(frames[index].camera.K, abs=1e-3)
        np.testing.assert_array_equal(np.isposinf(packed[index].depth), np.isposinf(frames[index].depth))
        np.testing.assert_allclose(packed[index].depth, frames[index].depth, rtol=0.005)


def test_every_kind_of_recording_can_be_packed(tmp_path: Path) -> None:
    points = np.array([[0.05, 0.0, 8.0], [2.5, -0.6, 12.0], [-9.9, 2.0, 20.0]])
    # At u = 37.5 + 60 x / z, v = 20.25 + 62 y / z: pixels (38, 20), (50, 17) and (8, 26) of the KITTI camera.
    split = recordings.write_kitti(tmp_path / "kitti", points)
    nuscenes = recordings.write_nuscenes(tmp_path / "nuscenes", np.array([[32.0, 22.0, 1.5], [22.0, 20.5, 1.0]]))
    folder = drives.write_drive(tmp_path / "room", 2)
    shutil.rmtree(folder / "lidar")
    sources = [str(split), str(nuscenes), str(folder)]
    frames = pack(sources, tmp_path / "pack", limit=10**6, width=80, height=48, zoom=1.0)
    assert [(drive.name, drive.frames) for drive in frames.drives] == [
        ("split.txt", 2),
        ("nuscenes", 1),
        ("room", 2),
    ]
    for (v, u), z in {(20, 38): 8.0, (17, 50): 12.0, (26, 8): 20.0}.items():
        assert frames[1].depth[v, u] == pytest.approx(z, rel=0.005)
    assert np.count_nonzero(~np.isnan(frames[1].depth)) == 3
    assert len(frames[2].points) == len(open_frames(nuscenes)[0].points)
    assert frames[4].points is None
    assert frames[4].depth[3, 5] == pytest.approx(7.0, rel=0.005)


def test_a_picture_is_only_as_large_as_crops_need_and_never_enlarged() -> None:
    frame = frame_of(make_points(4))
    widths = [fit_frame(frame, width=96, height=32, zoom=zoom).camera.width for zoom in (1.0, 0.8, 0.65, 0.5)]
    assert widths == [96, 120, 148, 160]
    assert fit_frame(frame, width=640, height=192).camera.width == WIDTH
    sample = augment_geometry(fit_frame(frame, **CROP), **CROP, rng=np.random.default_rng(0))
    assert sample.image.shape == (32, 96, 3)


def test_rows_far_from_every_return_are_left_out_and_the_largest_crop_still_fits() -> None:
    points = make_points(6)
    v = points[:, 1] / points[:, 2] * FY + CY
    band = frame_of(points[(v > 60) & (v < 70)])
    band = crop_frame(band, left=0, top=0, crop_width=WIDTH, crop_height=HEIGHT, width=WIDTH, height=HEIGHT)
    kept = fit_frame(band, width=160, height=32, zoom=1.0)
    top = round(CY - kept.camera.cy)
    assert 48 <= top <= 51  # a third of 32 rows above row 60
    assert 79 <= top + kept.camera.height <= 82
    tall = fit_frame(band, width=160, height=80, zoom=1.0)
    assert tall.camera.height >= 80
    assert np.count_nonzero(~np.isnan(tall.depth)) == np.count_nonzero(~np.isnan(band.depth))


def test_chosen_moments_are_evenly_spread() -> None:
    for total in (1, 7, 76, 1000):
        for count in {1, total, (total + 1) // 2, max(1, total // 3)}:
            numbers = evenly(count, total)
            assert len(set(numbers)) == count
            gaps = np.diff([-1, *numbers, total])
            assert numbers[0] >= 0 and numbers[-1] < total
            assert len(gaps) <= 3 or np.ptp(gaps[1:-1]) <= 1
            assert max(gaps[0], gaps[-1]) <= gaps[1:-1].max(initial=total // 2 + 1)


@pytest.mark.parametrize("limit", [20_000, 60_000, 85_000])
def test_a_pack_stays_below_its_limit_uses_it_and_thins_by_weight(tmp_path: Path, limit: int) -> None:
    texts = [f"{write_lidar_drive(tmp_path / 'front', 40)}:2", str(write_lidar_drive(tmp_path / "left", 40))]
    frames = pack(texts, tmp_path / "pack", limit=limit, **CROP)
    assert 0.8 * limit < sizes(tmp_path / "pack") <= limit
    front, left = moments(frames)
    assert abs(len(front) - 2 * len(left)) <= 1
    assert sum(drive.bytes for drive in frames.drives) <= sizes(tmp_path / "pack")
    for numbers in (front, left):
        assert np.ptp(np.diff(numbers)) <= 1
        assert max(numbers[0], 39 - numbers[-1]) <= max(np.diff(numbers))


def test_what_a_short_drive_leaves_goes_to_the_others(tmp_path: Path) -> None:
    texts = [f"{write_lidar_drive(tmp_path / 'short', 3)}:5", str(write_lidar_drive(tmp_path / "long", 40))]
    short, long = moments(pack(texts, tmp_path / "pack", limit=60_000, **CROP))
    assert short == [0, 1, 2]
    assert len(long) > 10
    assert 0.8 * 60_000 < sizes(tmp_path / "pack") <= 60_000


def test_a_limit_that_holds_everything_keeps_everything(tmp_path: Path) -> None:
    frames = pack([str(write_lidar_drive(tmp_path / "drive", 5))], tmp_path / "pack", limit=10**6, **CROP)
    assert moments(frames) == [[0, 1, 2, 3, 4]]


def test_too_small_a_limit_is_refused_with_what_would_fit(tmp_path: Path) -> None:
    texts = [str(write_lidar_drive(tmp_path / name, 4)) for name in ("a", "b")]
    with pytest.raises(
        PackError, match=r"one frame of each of the 2 drives takes 0\.0\d MB, and 0\.00 MB are left"
    ):
        pack(texts, tmp_path / "pack", limit=900, **CROP)
    assert not (tmp_path / "pack").exists()


def test_an_existing_pack_stays_unless_a_whole_new_one_replaces_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive, out = str(write_lidar_drive(tmp_path / "drive", 4)), tmp_path / "pack"
    command = ["-o", str(out), "--width", "96", "--height", "32", drive]
    main(command)
    before = (out / PACK_NAME).read_bytes()
    assert "4 frames" in capsys.readouterr().out
    for options, message in {
        (): "exists already; give another -o, or --overwrite",
        ("--overwrite", "--limit-mb", "0.001"): "give a larger --limit-mb",
        ("--overwrite", "--credit", "other=CC0"): "--credit is given for ['other']",
    }.items():
        with pytest.raises(SystemExit) as stopped:
            main([*options, *command])
        assert stopped.value.code == 1
        assert message in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == [PACK_NAME]
        assert (out / PACK_NAME).read_bytes() == before
    main(["--overwrite", "--limit-mb", "0.006", *command])
    assert len(PackedFrames(out)) < 4


def test_a_drive_without_frames_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = write_lidar_drive(tmp_path / "empty", 1)
    (empty / "lidar/000000.npy").unlink()
    with pytest.raises(SystemExit):
        main([str(empty), "-o", str(tmp_path / "pack")])
    assert f"{empty}: none of its 1 images has a LiDAR sweep" in capsys.readouterr().err
    assert not (tmp_path / "pack").exists()


def test_origin_and_licence_travel_with_each_drive(tmp_path: Path) -> None:
    folders = [write_lidar_drive(tmp_path / "data" / name, 2) for name in ("a", "b", "c")]
    (tmp_path / "data/README.md").write_text("One set, CC-BY-4.0.\n")
    (folders[1] / "CREDITS.txt").write_text("Jane Doe, CC0")
    texts = [str(folder) for folder in folders]
    frames = pack(texts, tmp_path / "pack", limit=10**6, credits={"c": "own recording"}, **CROP)
    assert [drive.credit for drive in frames.drives] == ["One set, CC-BY-4.0.", "Jane Doe, CC0", "own recording"]
    assert "b: Jane Doe, CC0" in report(frames)
    assert "a: 2 of 2 frames" in report(frames)
    again = pack([str(tmp_path / "pack")], tmp_path / "again", limit=10**6, **CROP)
    assert again.drives[0].credit == "One set, CC-BY-4.0.\nJane Doe, CC0\nown recording"
    with pytest.raises(PackError, match=r"--credit is given for \['d'\]"):
        pack(texts, tmp_path / "other", limit=10**6, credits={"d": "?"}, **CROP)


def test_training_reads_a_pack_by_its_folder_and_weight(tmp_path: Path) -> None:
    pack([str(write_lidar_drive(tmp_path / "drive", 3))], tmp_path / "pack", limit=10**6, **CROP)
    source = parse_source(f"{tmp_path / 'pack'}:7")
    assert source.weight == 7
    sample = source.open_samples(width=96, height=32, seed=1)[4]
    assert {name: tuple(value.shape) for name, value in sample.items()} == {
        "image": (32, 96, 3),
        "depth": (32, 96),
        "valid_mask": (32, 96),
        "K": (3, 3),
    }
    assert sample["valid_mask"].any()
    again = FrameSamples(open_frames(tmp_path / "pack"), width=96, height=32, seed=1)[4]
    assert torch.equal(again["image"], sample["image"])


def test_a_crop_of_a_packed_frame_shows_the_returns_that_the_drive_shows_there(tmp_path: Path) -> None:
    folder = write_lidar_drive(tmp_path / "drive", 1)
    packed, frame = (
        pack([str(folder)], tmp_path / "pack", limit=10**6, zoom=0.5, **CROP)[0],
        open_frames(folder)[0],
    )
    top = round(CY - packed.camera.cy)
    window = {"left": 30, "crop_width": 90, "crop_height": 30, "width": 96, "height": 32}
    expected = crop_frame(frame, top=top + 20, **window).depth
    found = crop_frame(packed, top=20, **window).depth
    known = np.argwhere(~np.isnan(found))
    assert len(known) == pytest.approx(np.count_nonzero(~np.isnan(expected)), rel=0.05)
    around = np.pad(expected, 1, constant_values=np.nan)  # a quarter pixel moves some returns next door
    errors = [np.nanmin(np.abs(around[v : v + 3, u : u + 3] / found[v, u] - 1), initial=1.0) for v, u in known]
    assert np.mean(np.array(errors) < 0.005) > 0.97


def damage(content: bytes, kind: str) -> bytes:
    middle = len(content) // 2
    return {
        "empty": b"",
        "a pickle": b"\x80\x04\x95" + content,
        "cut off": content[:middle],
        "one bit": content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :],
        "one bit of the index": content[:90] + bytes([content[90] ^ 1]) + content[91:],
        "longer": content + b"\0",
        "only its first line": content[: len(FORMAT)],
        "another version": content.replace(b"pack 1", b"pack 2", 1),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "a pickle",
        "cut off",
        "one bit",
        "one bit of the index",
        "longer",
        "only its first line",
        "another version",
    ],
)
def test_a_damaged_pack_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    pack([str(write_lidar_drive(tmp_path / "drive", 1))], tmp_path / "pack", limit=10**6, **CROP)
    path = tmp_path / "pack" / PACK_NAME
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(DatasetError, match=r"frames\.pack: (cannot be read|is no pack|is damaged)"):
        open_frames(tmp_path / "pack")


def pack_bytes(index: bytes, content: bytes = b"") -> bytes:
    body = struct.pack("<Q", len(index)) + index + content
    return FORMAT + hashlib.sha256(body).digest() + body


DRIVE = {"name": "a", "weight": 1, "frames": 0, "frames_of_drive": 0, "bytes": 0, "credit": "", "index": []}


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[]", "it has no frame"),
        (json.dumps([DRIVE]), "it has no frame"),
        ('{"a": "b"}', "'str' object"),
        (json.dumps([{**DRIVE, "credit": None}]), "NoneType"),
        (json.dumps([{**DRIVE, "credit": "\ud800"}]), "surrogates"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_an_index_that_lies_is_refused_by_name(tmp_path: Path, index: str, message: str) -> None:
    (tmp_path / PACK_NAME).write_bytes(pack_bytes(index.encode()))
    with pytest.raises(DatasetError, match=rf"frames\.pack: its index cannot be read \(.*{message}"):
        open_frames(tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (1, 64),
        (1, 2**40),
        (3, 0.0),
        (7, -5),
        (7, "a"),
        (7, "9"),
        (7, 2**70),
        (9, 10**9),
        (9, -3),
        (9, 7),
        (9, None),
        (3, []),
    ],
)
def test_a_frame_that_is_not_what_its_index_says_is_refused_by_name(
    tmp_path: Path, column: int, value: object
) -> None:
    pack([str(write_lidar_drive(tmp_path / "drive", 1))], tmp_path / "pack", limit=10**6, **CROP)
    path = tmp_path / "pack" / PACK_NAME
    body = path.read_bytes()[len(FORMAT) + 32 :]
    (length,) = struct.unpack("<Q", body[:8])
    index = json.loads(body[8 : 8 + length])
    index[0]["index"][0][column] = value
    path.write_bytes(pack_bytes(json.dumps(index).encode(), body[8 + length :]))
    with pytest.raises(DatasetError, match=r"frames\.pack: (its index|frame 0)"):
        open_frames(tmp_path / "pack")[0]


def test_real_drives_fit_into_a_megabyte_with_their_depth(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "pandaset"
    if not root.is_dir():
        pytest.skip("the trainable drives are not at data/pandaset")
    frames = pack([f"{root / 'front_camera'}:2", str(root / "left_camera")], tmp_path / "pack", limit=10**6)
    assert 0.85e6 < sizes(tmp_path / "pack") <= 10**6
    assert [drive.frames for drive in frames.drives] == [
        pytest.approx(2 * frames.drives[1].frames, abs=1),
        frames.drives[1].frames,
    ]
    assert "CC-BY-4.0" in report(frames)
    original = open_frames(root / "front_camera")[evenly(frames.drives[0].frames, 76)[0]]
    packed = frames[0]
    assert packed.image.shape == (450, 800, 3)
    assert len(packed.points) > 0.95 * len(original.points)
    assert np.median(packed.points[:, 2]) == pytest.approx(np.median(original.points[:, 2]), rel=0.02)
    small = original.camera.resized(width=800, height=450)
    assert packed.camera.K == pytest.approx(small.K, abs=1e-3)
