"""Batch norms that stay batch norms in an exported graph, so that a network can be trained on from its model file.

torch's exporter folds each one into the convolution before it, and its weights are lost. Here the network is
traced with identities in their place, and the nodes are inserted afterwards. Run times fold them on loading.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass(frozen=True)
class NormOf:
    """A batch norm and the convolution whose output it normalises, by their names in the network."""

    convolution: str
    norm: str


def find_norms(network: nn.Module, *inputs: Tensor) -> list[NormOf]:
    """Returns the network's batch norms, each of which must follow a convolution.

    Args:
        network: Called with the inputs; in evaluation mode.
        inputs: Any that it takes.

    Raises:
        ValueError: A batch norm normalises something else, or is not called.
    """
    names = {module: name for name, module in network.named_modules()}
    made_by: dict[int, str] = {}
    kept: list[Tensor] = []  # so that no tensor's id is used twice
    found: dict[str, str] = {}

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, _BatchNorm):
            found[names[module]] = made_by.get(id(args[0]), "")
        else:
            made_by[id(output)] = names[module]
            kept.append(output)

    watched = [m for m in network.modules() if isinstance(m, nn.Conv2d | _BatchNorm)]
    hooks = [module.register_forward_hook(note) for module in watched]
    try:
        with torch.no_grad():
            network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    lost = [names[m] for m in watched if isinstance(m, _BatchNorm) and not found.get(names[m])]
    if lost:
        raise ValueError(f"batch norms {lost} do not follow a convolution; the export knows no others")
    return [NormOf(convolution, norm) for norm, convolution in found.items()]


def without_norms(network: nn.Module) -> nn.Module:
    """Returns a copy of the network with an identity in place of each batch norm."""
    network = copy.deepcopy(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, nn.Identity())
    return network


def insert_norms(model: onnx.ModelProto, network: nn.Module, norms: list[NormOf]) -> None:
    """Puts BatchNormalization nodes behind the convolutions of a graph that was traced without them.

    Args:
        model: Changed in place. Its initializers have the names of the network's state dict.
        network: The network with its batch norms.
        norms: What `find_norms` found in it.

    Raises:
        ValueError: The graph lacks one of the convolutions.
    """
    norm_of = {f"{norm.convolution}.weight": norm.norm for norm in norms}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        name = norm_of.pop(node.input[1], None) if node.op_type == "Conv" else None
        if name is None:
            continue
        norm = network.get_submodule(name)
        parts = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        for part in parts:
            values = network.state_dict()[part].cpu().numpy()
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, part))
        output, node.output[0] = node.output[0], f"{node.output[0]}_conv"
        nodes.append(
            onnx.helper.make_node(
                "BatchNormalization", [node.output[0], *parts], [output], name=name, epsilon=norm.eps
            )
        )
    if norm_of:
        raise ValueError(f"the exported graph has no convolutions with the weights {sorted(norm_of)}")
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
