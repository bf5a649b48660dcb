/* SPDX-License-Identifier: GPL-2.0-only */
/* BCC includes this before all else, for the kernel's configuration: its prelude asks for this one. */
#define CONFIG_BPF_SYSCALL 1
