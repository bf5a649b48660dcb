/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One source, two ways of attaching: the programs are kprobes and kretprobes, or
 * with PROBES_FENTRY the BTF-trampoline programs fentry and fexit.
 *
 * tracer/kernel/probes.py says which program goes to which function. A program finds
 * the function's nth argument, from 1, with ARGUMENT(n): those at its entry, and fexit
 * programs. LEAVE_PROBES defines the kretprobes, which see the result alone.
 */
#ifndef HANGUP_PROBES_H
#define HANGUP_PROBES_H

#ifdef PROBES_FENTRY

#define CONTEXT unsigned long long
#define ARGUMENT(n) ((u64)ctx[(n) - 1])

#else

#define CONTEXT struct pt_regs
/* The System V ABI's argument registers. */
#define ARGUMENT_1 ((u64)ctx->di)
#define ARGUMENT_2 ((u64)ctx->si)
#define ARGUMENT_3 ((u64)ctx->dx)
#define ARGUMENT_4 ((u64)ctx->cx)
#define ARGUMENT_5 ((u64)ctx->r8)
#define ARGUMENT(n) ARGUMENT_##n
#define LEAVE_PROBE(name, with_address)                    \
	int name(CONTEXT *ctx)                             \
	{                                                  \
		return finish((s32)ctx->ax, with_address); \
	}
#define LEAVE_PROBES              \
	LEAVE_PROBE(leave, false) \
	LEAVE_PROBE(leave_address, true)

#endif

#endif /* HANGUP_PROBES_H */
