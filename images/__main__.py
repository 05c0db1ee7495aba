"""`python -m images`: build the product's image, and say how large it is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion
from fleet.version import VERSION
from images.archive import write_docker_archive, write_oci_layout, write_root
from images.product import NAME, product_image


def main(argv: list[str] | None = None) -> int:
    """Build as told; 1 if that is not possible, and why on standard error."""
    try:
        _build(_arguments(argv))
    except FleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m images", description="Builds the image `fleet`.")
    parser.add_argument("--version", default=VERSION, metavar="vX.Y.Z", help=f"its tag and version; {VERSION}")
    parser.add_argument("--name", default=NAME, metavar="NAME", help=f"its name without a tag; {NAME}")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="write a docker archive (`docker load`)")
    parser.add_argument("--layout", type=Path, metavar="DIR", help="write an OCI layout (`skopeo copy oci:DIR`)")
    parser.add_argument("--agent", type=Path, metavar="DIR", help="also build the devices' agent of this version there")
    parser.add_argument("--root", type=Path, metavar="DIR", help="write its files, for a Containerfile to copy")
    return parser.parse_args(argv)


def _build(options: argparse.Namespace) -> None:
    version = AgentVersion(options.version)
    image = product_image(version, name=options.name)
    for target, write in (
        (options.archive, write_docker_archive),
        (options.layout, write_oci_layout),
        (options.root, write_root),
    ):
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            write(image, target)
    if options.agent is not None:
        options.agent.mkdir(parents=True, exist_ok=True)
        sys.stdout.write(f"{_agent(version, options.agent)}\n")
    sys.stdout.write(f"{image.name}\tsha256:{image.id}\t{image.size / 1e6:.0f} MB\n")


def _agent(version: AgentVersion, folder: Path) -> Path:
    # Here, for the build inside a Containerfile has no shiv and needs none.
    from fleet.artifacts.build import build  # noqa: PLC0415
    from fleet.artifacts.layer import Target  # noqa: PLC0415

    return build(version, folder, Target())


if __name__ == "__main__":
    sys.exit(main())
