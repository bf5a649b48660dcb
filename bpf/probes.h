/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One source, two ways of attaching: ON_ENTRY(function) and ON_RETURN(function)
 * define a kprobe and a kretprobe, or with PROBES_FENTRY the BTF-trampoline
 * programs fentry and fexit.
 *
 * ARGUMENT(n) is the probed function's nth argument, from 1, on entry; RESULT(function)
 * its result on return, which fexit finds behind as many arguments as the
 * running kernel's BTF says the function has.
 */
#ifndef HANGUP_PROBES_H
#define HANGUP_PROBES_H

#ifdef PROBES_FENTRY

#define ON_ENTRY(function) int enter__##function(unsigned long long *ctx)
#define ON_RETURN(function) int leave__##function(unsigned long long *ctx)
#define ARGUMENT(n) ((u64)ctx[(n) - 1])
#define RESULT(function) ((u64)ctx[ARGUMENTS(function)])

#else

#define ON_ENTRY(function) int enter__##function(struct pt_regs *ctx)
#define ON_RETURN(function) int leave__##function(struct pt_regs *ctx)
/* The System V ABI's argument registers. */
#define ARGUMENT_1 ((u64)ctx->di)
#define ARGUMENT_2 ((u64)ctx->si)
#define ARGUMENT_3 ((u64)ctx->dx)
#define ARGUMENT_4 ((u64)ctx->cx)
#define ARGUMENT_5 ((u64)ctx->r8)
#define ARGUMENT(n) ARGUMENT_##n
#define RESULT(function) ((u64)ctx->ax)

#endif

#endif /* HANGUP_PROBES_H */
