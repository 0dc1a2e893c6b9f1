"""Names of hosts in; the network addresses that may be connected to, out.

The address that is checked is the one that is connected to. A name that is looked up a second time
could lead elsewhere then (DNS rebinding).
"""

import ipaddress
import socket
from typing import Final

import anyio

from copydesk.corpus._fields import UnfitError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# NAT64 (RFC 6052, RFC 8215): the last 32 bits are an IPv4 address, which may be private.
_NAT64: Final = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_MOST_ADDRESSES: Final = 4


async def addresses_of(host: str, port: int, *, allow_private: bool) -> tuple[str, ...]:
    """The addresses of a host, the system's preferred ones first, four at most.

    Raises:
        UnfitError: the name is not known, or any of its addresses is not public.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnfitError("unreachable", f"The host {host} cannot be found: {error}.") from None
    addresses = [str(entry[4][0]) for entry in found]
    private = [one for one in addresses if not is_public(one)]
    if private and not allow_private:
        raise UnfitError(
            "private-address",
            f"The host {host} has the address {private[0]}, which is not public. "
            "Use --allow-private where that is meant.",
        )
    return tuple(dict.fromkeys(addresses))[:_MOST_ADDRESSES]


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, also where it carries another inside."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(one.is_global and not one.is_multicast for one in (parsed, *_inside(parsed)))


def _inside(address: _Address) -> tuple[_Address, ...]:
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    carried: list[_Address] = []
    if address.ipv4_mapped:
        carried.append(address.ipv4_mapped)
    if address.sixtofour:
        carried.append(address.sixtofour)
    if address.teredo:
        carried.extend(address.teredo)
    if any(address in network for network in _NAT64):
        carried.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(carried)
