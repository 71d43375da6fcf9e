"""The run's configuration: a file and options together, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from toy_shards import write_toy_shards

pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training.config import ConfigError, TrainConfig, make_config, read_config
from training.run_folder import CONFIG_NAME
from training.train import config_of, main, make_parser


def parsed(*arguments: str) -> TrainConfig:
    return config_of(vars(make_parser().parse_args(["data", "--out", "run", *arguments])))


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_options_stand_over_the_file_and_the_file_over_the_defaults(tmp_path) -> None:
    text = "steps: 70\nlearning_rate: 1\nnetwork:\n  encoder: tiny\n  decoder_channels: [24, 16, 12, 8]\n"
    path = written(tmp_path / "run.yaml", text)
    config = parsed("--config", path, "--steps", "71", "--max-depth", "60", "--no-pretrained")
    assert (config.steps, config.learning_rate, config.pretrained) == (71, 1.0, False)
    assert config.network.encoder == "tiny"
    assert config.network.decoder_channels == (24, 16, 12, 8)
    assert config.network.max_depth == 60.0
    assert config.batch_size == TrainConfig().batch_size


def test_without_file_and_options_all_is_default() -> None:
    assert parsed() == TrainConfig()


def test_a_run_s_own_config_file_gives_the_same_run(tmp_path) -> None:
    config = parsed("--steps", "5", "--encoder", "tiny", "--mae-weight", "0.5")
    path = written(tmp_path / "config.json", json.dumps(asdict(config)))
    assert parsed("--config", path) == config


def test_resuming_goes_on_as_configured_but_for_the_options_given(tmp_path) -> None:
    (tmp_path / CONFIG_NAME).write_text('{"steps": 30, "seed": 9, "network": {"encoder": "tiny"}}')
    options = make_parser().parse_args(["data", "--out", str(tmp_path), "--resume", "--steps", "40"])
    config = config_of(vars(options))
    assert (config.steps, config.seed, config.network.encoder) == (40, 9, "tiny")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "stepz: 3", r"a\.yaml: unknown keys \['stepz'\], expected some of .*'steps'"),
        ("a.yaml", "encoder: tiny", r"\['encoder'\] stand under 'network:'"),
        ("a.yaml", "learning_rate: high", "learning_rate is 'high', expected float"),
        ("a.yaml", "network: {encode: tiny}", r"a\.yaml, network: unknown keys \['encode'\]"),
        ("a.yaml", "network: 3", "'network' is 3, expected a mapping"),
        ("a.yaml", "steps: many", "steps is 'many', expected int"),
        ("a.yaml", "pretrained: 1", "pretrained is 1, expected bool"),
        ("a.yaml", "steps: true", "steps is True, expected int"),
        ("a.yaml", "network: {encoder: resnet9000}", "resnet9000"),
        ("a.yaml", "height: 190", "height is 190, expected a multiple of 32"),
        ("a.yaml", "batch_size: 0", "batch_size is 0, expected 1 or more"),
        ("a.yaml", "precision: fp8", "precision is 'fp8', expected one of"),
        ("a.yaml", "renderer: gpu", "renderer is 'gpu', expected one of"),
        ("a.yaml", "- steps", "holds a list"),
        ("a.yaml", "steps: [", "not a readable configuration"),
        ("a.json", "{", "not a readable configuration"),
        ("a.toml", "steps = 3", r"expected a \.json, \.yaml or \.yml file"),
    ],
)
def test_a_wrong_file_is_refused_with_what_was_expected(tmp_path, name: str, text: str, message: str) -> None:
    path = Path(written(tmp_path / name, text))
    with pytest.raises(ConfigError, match=message):
        make_config(read_config(path), origin=str(path))


def test_powers_of_ten_need_no_point(tmp_path) -> None:
    assert parsed("--config", written(tmp_path / "a.yaml", "learning_rate: 5e-4")).learning_rate == 0.0005


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_config(tmp_path / "none.yaml")


def test_resuming_with_another_file_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="leave --config out"):
        parsed("--resume", "--config", written(tmp_path / "a.yaml", "steps: 3"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "tiny"], "no ImageNet weights.*--no-pretrained"),
        (["--encoder", "tiny", "--no-pretrained", "--device", "tpu"], "device is 'tpu', expected cpu or cuda"),
        (
            [f"--{name}-weight=0" for name in ("silog", "log-l1", "gradient", "error")],
            "the weight of every loss is 0",
        ),
        (["--height", "100"], "height is 100, expected a multiple of 32"),
        (["--encoder", "tiny", "--no-pretrained", "--validation", "nowhere"], "nowhere: no shard found"),
    ],
)
def test_the_command_ends_with_one_sentence_and_leaves_nothing(tmp_path, capsys, arguments, message: str) -> None:
    data = write_toy_shards(tmp_path / "data")
    with pytest.raises(SystemExit) as ended:
        main([str(data), "--out", str(tmp_path / "run"), *arguments])
    assert ended.value.code == 1
    assert not (tmp_path / "run").exists()
    assert re.search(message, capsys.readouterr().err)
