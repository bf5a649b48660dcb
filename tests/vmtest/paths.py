"""Where the guests' files lie: everything that can be made again is in .cache, in the checkout."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
VAGRANT = CHECKOUT / "vagrant"
SERVERS_LIST = VAGRANT / "servers.list"
PEERS_LIST = VAGRANT / "peers.list"
KERNEL_LIST = CHECKOUT / "tests" / "kernels.toml"

CACHE = CHECKOUT / ".cache"
ROOT = CACHE / "root"
# The same with the packages of vagrant/servers.list: what the scenarios boot.
SERVERS_ROOT = CACHE / "root-servers"
# The same with the tracers of vagrant/peers.list: what the measurements boot.
PEERS_ROOT = CACHE / "root-peers"
KERNELS = CACHE / "kernels"
RESULTS = CACHE / "results"
SCAP = CACHE / "scap"
UWSGI = CACHE / "uwsgi-1.9.20"
KVM_ANSWER = CACHE / "kvm"
LOCK = CACHE / "guest.lock"
