/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * BCC stamps programs with this; kernels since 5.0 do not look at it, and
 * nothing of ours compares versions.
 */
#define LINUX_VERSION_CODE 0
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
