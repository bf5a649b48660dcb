/* SPDX-License-Identifier: GPL-2.0-only */
/* BCC's own <linux/bpf.h> includes this for BPF's instruction codes, which C programs do not use. */
