"""Which engine is used where the one asked for must not be, and how a wrong one is noticed in service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine

from recon3d_ros.core.model import ModelInfo
from recon3d_ros.core.pipeline import Prediction
from recon3d_ros.core.self_test import SelfTest
from recon3d_ros.engines import EngineError, EngineOptions, by_size, fallback
from recon3d_ros.engines.by_size import EnginesBySize
from recon3d_ros.engines.cache import Proof
from recon3d_ros.engines.fallback import fallback_order, first_proved, label, load_proved, open_proved, require
from recon3d_ros.engines.watchdog import HISTORY, PAUSE, Watchdog

TEST = SelfTest(
    np.random.default_rng(0).integers(0, 256, (3, 24, 40, 3), dtype=np.uint8),
    np.array([300.0, 400.0, 500.0], np.float32),
    "made images",
)


def depth_of(images, focals):
    return (2 + images.mean(axis=3) / 50 + focals[:, None, None] / 100).astype(np.float32)


def answering(scale: float = 1.0, bad_share: float = 0.0) -> FakeEngine:
    """An engine whose depth is off by a factor, and NaN in a share of its rows."""

    def answer(images, focals) -> Prediction:
        depth = depth_of(images, focals) * np.float32(scale)
        depth[:, : round(depth.shape[1] * bad_share)] = np.nan
        return Prediction(depth)

    return FakeEngine(answer)


def test_the_order_is_as_asked_then_fp32_then_onnx_runtime():
    asked = EngineOptions(backend="tensorrt", precision="int8", max_batch=3, threads=2)
    assert [label(step) for step in fallback_order(asked)] == [
        "tensorrt int8",
        "tensorrt fp32",
        "onnxruntime fp32",
    ]
    assert {(step.max_batch, step.threads) for step in fallback_order(asked)} == {(3, 2)}


def test_nothing_is_tried_twice():
    assert [label(step) for step in fallback_order(EngineOptions(backend="tensorrt"))] == [
        "tensorrt fp32",
        "onnxruntime fp32",
    ]
    assert fallback_order(EngineOptions()) == (EngineOptions(),)


def test_each_engine_that_is_passed_over_is_told_with_its_reason():
    told = []

    def prove(options: EngineOptions) -> FakeEngine:
        if options.backend == "tensorrt":
            raise EngineError(f"no {options.precision} today")
        return answering()

    order = fallback_order(EngineOptions(backend="tensorrt", precision="fp16"))
    _, options = first_proved(order, prove, told.append)
    assert options.backend == "onnxruntime"
    assert [str(refusal) for refusal in told] == [
        "tensorrt fp16 is not used: no fp16 today",
        "tensorrt fp32 is not used: no fp32 today",
    ]


def test_where_nothing_can_be_used_every_reason_is_told():
    def prove(options: EngineOptions) -> FakeEngine:
        raise EngineError(f"{options.backend} fails")

    with pytest.raises(EngineError, match=r"tensorrt fails.*onnxruntime fails"):
        first_proved(fallback_order(EngineOptions(backend="tensorrt")), prove, lambda refusal: None)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch):
    """Puts a fake in the place of the build; returns what the cache was told of each engine's check."""
    proofs: list[Proof] = []

    def use(engine: FakeEngine) -> list[Proof]:
        def candidate(path: Path, info: ModelInfo, options: EngineOptions, on_progress) -> tuple[FakeEngine, str]:
            on_progress("build", 0.5)
            return engine, "its file"

        monkeypatch.setattr(fallback, "open_candidate", candidate)
        monkeypatch.setattr(fallback, "record_proof", lambda file, proof: proofs.append(proof))
        return proofs

    return use


def open_fake(precision: str = "fp16", max_batch: int = 2):
    options = EngineOptions(backend="tensorrt", precision=precision, max_batch=max_batch)
    return open_proved(Path("model.onnx"), options, answering(), TEST, lambda phase, share: None)


def test_a_right_engine_is_used_and_its_proof_is_kept(built):
    engine = answering()
    proofs = built(engine)
    assert open_fake() is engine
    assert [proof.is_good for proof in proofs] == [True]


def test_a_wrong_engine_is_refused_with_what_is_wrong_and_its_file_is_marked(built):
    proofs = built(answering(scale=1.5))
    with pytest.raises(EngineError, match=r"wrong on made images: mean relative error of depth 0\.5"):
        open_fake()
    assert [proof.is_good for proof in proofs] == [False]
    assert any("FAILED" in line for line in proofs[0].lines)


def test_an_engine_that_cannot_run_now_is_not_marked_as_wrong_for_ever(built):
    def answer(images, focals):
        raise EngineError("out of GPU memory")

    proofs = built(FakeEngine(answer))
    with pytest.raises(EngineError, match="out of GPU memory"):
        open_fake()
    assert proofs == []


def test_an_engine_that_failed_when_it_was_built_is_not_built_again(monkeypatch: pytest.MonkeyPatch):
    class Built:
        proof = Proof(False, ("fp16: NOT to be used", "FAILED mean relative error"))

    monkeypatch.setattr(fallback, "cached_engine", lambda path, options: Built())
    monkeypatch.setattr(fallback, "build_engine", lambda *arguments: pytest.fail("it was built again"))
    with pytest.raises(EngineError, match=r"failed its check.*mean relative error.*recon3d engine clear"):
        open_fake()


def test_a_run_time_that_is_not_installed_is_a_broken_set_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    monkeypatch.delitem(__import__("sys").modules, "recon3d_ros.engines.openvino", raising=False)
    with pytest.raises(EngineError, match="'openvino' is not installed"):
        require(Path("model.onnx"), EngineOptions(backend="openvino"))


def test_offline_a_wrong_engine_is_refused_rather_than_replaced(built, tmp_path: Path):
    model = pytest.importorskip("onnx_models", reason="onnx is not installed").write_model(tmp_path / "model.onnx")
    built(FakeEngine(lambda i, f: Prediction(np.full(i.shape[:3], 7, np.float32)), height=32, width=64))
    with pytest.raises(EngineError, match="its answers are wrong on made images"):
        load_proved(model, EngineOptions(backend="tensorrt"))
    assert load_proved(model, EngineOptions()).info.name == "tiny"


def test_offline_a_model_of_free_size_has_an_engine_proved_for_each_size_that_comes(monkeypatch, tmp_path: Path):
    onnx_models = pytest.importorskip("onnx_models", reason="onnx is not installed")
    model = onnx_models.write_model(tmp_path / "model.onnx", has_free_size=True)
    made: list[tuple[int, int]] = []

    def candidate(path: Path, info: ModelInfo, options: EngineOptions, on_progress) -> tuple[FakeEngine, None]:
        made.append(options.size)
        if options.size == (64, 96):
            raise EngineError("the builder refuses 96x64")
        height, width = options.size
        answer = onnx_models.expected_depth
        return FakeEngine(lambda i, f: Prediction(answer(i, f)), height=height, width=width, max_depth=80.0), None

    monkeypatch.setattr(fallback, "open_candidate", candidate)
    monkeypatch.setattr(fallback, "cached_engine", lambda path, options: None)
    engine = load_proved(model, EngineOptions(backend="tensorrt"))
    assert engine.info.has_free_size and made == []
    for height, width in ((32, 64), (96, 64), (32, 64)):
        images = np.full((2, height, width, 3), 50, np.uint8)
        depth = engine.infer(images, np.array([100.0, 200.0], np.float32)).depth
        np.testing.assert_allclose(depth[:, 0, 0], [6.0, 11.0], rtol=1e-5)
    assert made == [(32, 64), (96, 64)]
    for _ in range(2):
        with pytest.raises(EngineError, match="the builder refuses 96x64"):
            engine.infer(np.zeros((1, 64, 96, 3), np.uint8), np.ones(1, np.float32))
    assert made[2:] == [(64, 96)], "what failed is not built again"


def test_offline_no_more_engines_are_kept_than_there_is_room_for() -> None:
    info = FakeEngine(None, height=32, width=64, has_free_size=True).info
    opened: list[tuple[int, int]] = []

    def open_at(size: tuple[int, int]) -> FakeEngine:
        opened.append(size)
        return FakeEngine(lambda i, f: Prediction(np.ones(i.shape[:3], np.float32)), height=size[0], width=size[1])

    engine = EnginesBySize(info, open_at)
    sizes = [(32 * n, 64) for n in range(1, by_size.MAX_SIZES + 3)]
    for height, width in [*sizes, sizes[-1], sizes[0]]:
        engine.infer(np.zeros((1, height, width, 3), np.uint8), np.ones(1, np.float32))
    assert opened == [*sizes, sizes[0]]
    assert len(engine._engines) == by_size.MAX_SIZES


class Service:
    """An engine in service under a watchdog, fed frame by frame."""

    def __init__(self) -> None:
        self.reference = answering()
        self.watchdog = Watchdog(self.reference)
        self.focals = np.array([400.0], np.float32)

    def see(self, *, scene: float = 1.0, engine: float = 1.0, bad_share: float = 0.0, focals=None) -> str:
        """Returns the watchdog's verdict on one frame.

        Args:
            scene: factor on the true depth, which the reference sees too.
            engine: factor on the engine's depth alone.
            bad_share: share of the engine's rows that are NaN.
            focals: of the cameras in the batch.
        """
        focals = self.focals if focals is None else np.array(focals, np.float32)
        images = np.repeat(TEST.images[:1], len(focals), axis=0)
        truth = depth_of(images, focals) * np.float32(scene)
        self.reference._answer = lambda i, f: Prediction(truth[:1])
        depth = truth * np.float32(engine)
        depth[:, : round(depth.shape[1] * bad_share)] = np.nan
        return self.watchdog.look(images, focals, depth)


def test_steady_frames_and_small_changes_never_ask_the_reference():
    service = Service()
    for n in range(50):
        assert service.see(scene=1 + 0.3 * (n % 2)) == ""
    assert service.watchdog.referrals == 0
    assert service.watchdog.frames == 50


def test_a_scale_jump_that_onnx_runtime_does_not_see_is_found_on_that_frame():
    service = Service()
    for _ in range(5):
        service.see()
    assert "1.80 times ONNX Runtime's" in service.see(engine=1.8)


def test_a_scene_that_jumps_is_no_fault_and_becomes_the_new_normal():
    service = Service()
    for _ in range(HISTORY):
        service.see()
    for _ in range(3 * PAUSE):
        assert service.see(scene=3.0) == ""
    assert service.watchdog.referrals == 1


def test_nan_in_a_part_of_the_image_is_found_at_the_first_frame():
    assert "25% of its depth is not finite" in Service().see(bad_share=0.25)


def test_an_all_nan_answer_is_found():
    assert "100%" in Service().see(bad_share=1.0)


def test_nan_that_the_model_itself_gives_is_not_the_engines_fault_and_does_not_slow_every_frame():
    nan = np.full((1, 24, 40), np.nan, np.float32)
    reference = FakeEngine(lambda i, f: Prediction(nan))
    watchdog = Watchdog(reference)
    for _ in range(5 * PAUSE):
        assert watchdog.look(TEST.images[:1], TEST.focals[:1], nan) == ""
    assert len(reference.batches) == 5


def test_cameras_that_take_turns_in_a_batch_are_told_apart():
    service = Service()
    near, far = 250.0, 2500.0  # 7 m and 29 m
    for batch in ([near, far], [far], [near], [far, near]) * 5:
        assert service.see(focals=batch) == ""
    assert service.watchdog.referrals == 0
    assert "times ONNX Runtime's" in service.see(focals=[far], engine=0.25)  # as near as the other camera's


def test_a_jump_right_after_another_was_cleared_is_found_within_the_pause():
    service = Service()
    for _ in range(5):
        service.see()
    assert service.see(scene=4.0) == ""
    verdicts = [service.see(scene=4.0, engine=0.5 * (1 + n % 2 * 9)) for n in range(PAUSE + 2)]
    assert any(verdicts)
