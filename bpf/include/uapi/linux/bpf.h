/* SPDX-License-Identifier: GPL-2.0-only */
/* BCC has included its own copy of <linux/bpf.h> before it comes here. */
