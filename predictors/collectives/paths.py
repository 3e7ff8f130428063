"""What a group of devices talks over: a link between peers, the host's bus, or a network between nodes."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import DeviceError, OptionError
from ...hwmodels import Device

NETWORK_BANDWIDTH = 25e9
"""Bytes a second of one node's network in one direction where the caller names none: one 200 Gbit/s port."""

HOST_LINKS = ("pcie",)
"""Links whose traffic passes the host; every other link of a device joins it to its peers."""

REDUCING_PORTS = 18
"""NVLink ports from which a switch adds up what passes it (NVLink SHARP: fourth generation and later, 18 ports)."""

TOPOLOGIES = ("switch", "pairs", "host")
"""How the devices of a node are joined: all to all, two by two, or through the host alone."""

KNOWN = {"a100_pairwise_nvlink": "pairs", "a100_dgx": "switch"}
"""Names that measurements give to topologies; any other name leaves it to the device's links."""


@dataclass(frozen=True)
class Path:
    """The narrowest part of the way between devices of a group.

    Attributes:
        family: ``link`` (peer to peer), ``host`` (through the host's bus) or ``network`` (between nodes).
        bandwidth: bytes a second of one device (of one node for ``network``) in one direction.
        reduces: whether the switch between the devices can add up what passes it.
    """

    family: str
    bandwidth: float
    reduces: bool = False


def path(device: Device, n: int, topology: str = "", per_node: int = 0, network: float = NETWORK_BANDWIDTH) -> Path:
    """The path that limits a group.

    Args:
        device: of every member.
        n: members.
        topology: one of :data:`TOPOLOGIES`, or a name of a measurement's topology; empty: what the links allow.
        per_node: members in one node; 0: all.
        network: bytes a second between nodes.

    Raises:
        DeviceError: the device has no link.
        OptionError: a group of less than two, or a bandwidth that is not positive.
    """
    if n < 2:
        raise OptionError("a collective needs two devices", where="n", found=n, expected="2 or more")
    if not network > 0:
        raise OptionError("the network needs a bandwidth", where="network", found=network, expected="bytes/s above 0")
    if per_node and per_node < n:
        return Path("network", network)
    if not device.links:
        raise DeviceError("the device has no links to others", where=device.name, expected="an entry under links")
    kind = KNOWN.get(topology, topology)
    host = [link for link in device.links if link.name.lower() in HOST_LINKS]
    peers = [link for link in device.links if link not in host]
    through_host = kind == "host" or not peers or (kind == "pairs" and n > 2)
    if through_host and not host:
        raise DeviceError("the device has no link to the host", where=device.name, expected="a link named PCIe")
    best = max(host if through_host else peers, key=lambda link: link.bandwidth.value)
    reduces = not through_host and kind != "pairs" and best.count.value >= REDUCING_PORTS
    return Path("host" if through_host else "link", best.bandwidth.value, reduces)
