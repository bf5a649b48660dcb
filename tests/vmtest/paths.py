"""Where the guests' files lie: everything that can be made again is in .cache, in the checkout."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
VAGRANT = CHECKOUT / "vagrant"
KERNEL_LIST = CHECKOUT / "tests" / "kernels.toml"

CACHE = CHECKOUT / ".cache"
ROOT = CACHE / "root"
USR_IMAGE = CACHE / "root-usr.img"
KERNELS = CACHE / "kernels"
RESULTS = CACHE / "results"
UWSGI = CACHE / "uwsgi-1.9.20"
KVM_ANSWER = CACHE / "kvm"
LOCK = CACHE / "guest.lock"
