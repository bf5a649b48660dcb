/* SPDX-License-Identifier: GPL-2.0-only */
/* Included by BCC's prelude; nothing of it is used. */
