"""recon3d policy: the SROS 2 policy of the depth node with a vehicle's own parameters."""

from __future__ import annotations

import argparse
from pathlib import Path

from recon3d_ros.core.atomic_file import open_atomically
from recon3d_ros.tools.inputs import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `recon3d policy`."""
    parser.add_argument(
        "--params-file", type=Path, metavar="FILE", help="the node's parameters (default: its defaults)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.xml", help="policy to write")


def main(args: argparse.Namespace) -> int:
    """Configures the node, reads what it publishes, subscribes to and offers, and writes that."""
    from recon3d_ros.ros.enclave_policy import depth_node_policy
    from recon3d_ros.ros.parameter_field import ParameterError

    if args.params_file is not None and not args.params_file.exists():
        raise InputError(f"{args.params_file}: does not exist")
    try:
        policy = depth_node_policy(args.params_file)
    except ParameterError as error:
        raise InputError(str(error)) from error
    with open_atomically(args.output) as file:
        file.write(policy.encode())
    print(f"{args.output}: {policy.count('<topic>')} topics, {policy.count('<service>')} services")
    return 0
