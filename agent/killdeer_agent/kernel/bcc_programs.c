/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The questions of agent/bpf/killdeer.bpf.c for kernels without BTF or ring buffers: compiled on the host by
 * bcc, told through perf buffers. Before this text stand, generated: the records (bcctypes.py, out of layout.py)
 * and AT_struct_field, where this kernel has each field (kerneltypes.py).
 *
 * Keeps to what old verifiers take: no loops but unrolled ones, under 4,096 instructions a program. Times are of
 * CLOCK_MONOTONIC, which is all there is before Linux 5.8; the reader turns them into those of CLOCK_BOOTTIME.
 */

#define KD_INITIAL_PID_NAMESPACE 0xEFFFFFFC
#define KD_PID_NAMESPACES 8 /* nested: how deep is looked; the agent's rehearsal finds out if it is deeper */
#define KD_MEMORY_LEVELS 8	 /* cgroups looked at on the way up to the one at its limit */
#define KD_CHARGE_BATCH 64
#define KD_NO_LIMIT (0x7fffffffffffffffUL >> 16)
#define KD_UNIFIED_ROOT 1
#define KD_UNIFIED_HIERARCHY 0

#define KD_SIGKILL 9
#define KD_SIGNAL_GROUP_EXIT 4	     /* signal_struct.flags */
#define KD_PF_EXITING 4	     /* task_struct.flags */
#define KD_DELIVERED 0	     /* TRACE_SIGNAL_DELIVERED */
#define KD_SI_CODE_AT 8	     /* the third number of every siginfo */
#define KD_HARMLESS 0x87f0000UL /* bit n-1: signals whose default is not to end the process */
#define KD_CORE_DUMPING 0x418004fcUL
#define KD_BY_KERNEL_NOINFO 0
#define KD_BY_KERNEL_PRIV 1
#define KD_SI_USER 0
#define KD_SI_KERNEL 0x80
#define KD_SI_QUEUE -1
#define KD_SI_TKILL -6

#define KD_INLINE static inline __attribute__((always_inline))

/* bpf_probe_read is there on every kernel, and on x86-64 and arm64 reads the kernel's memory on all of them. */
#define KD_READ(type, from, at)                                                                                 \
	({                                                                                                   \
		type value_ = 0;                                                                             \
		bpf_probe_read(&value_, sizeof(value_), (void *)((u64)(from) + (at)));                       \
		value_;                                                                                      \
	})

enum { KD_RARE, KD_ENDS, KD_BULK, KD_BUFFERS };

/* A drain ends when a buffer is empty, which one that is filled faster than it is read never is: so this bounds it. */
#define KD_MOST_IN_A_DRAIN 1024 /* records, by each processor into each buffer */
struct kd_spent {
	u64 drain;
	u64 records;
};

BPF_PERF_OUTPUT(rare); /* watched targets and OOM kills: a flood can't push them out */
BPF_PERF_OUTPUT(ends); /* signals that end a process, and the ends: a flood of others can't push them out */
BPF_PERF_OUTPUT(bulk);
BPF_PERCPU_ARRAY(lost, u64, KD_LOST_SLOTS);
BPF_ARRAY(drains, u64, 1); /* how many the reader has begun */
BPF_PERCPU_ARRAY(spent, struct kd_spent, KD_BUFFERS);
BPF_ARRAY(config, struct kd_config, 1);
BPF_TABLE("hash", u32, u64, watch, 1024);
BPF_TABLE("hash", u64, u8, chosen, 4096);
BPF_TABLE("lru_hash", u64, u64, condemned, 64);
/* A record is too large for the stack. Nothing runs twice on a processor: raw tracepoints are not preempted. */
BPF_PERCPU_ARRAY(signal_record, struct kd_signal, 1);
BPF_PERCPU_ARRAY(exit_record, struct kd_exit, 1);
BPF_PERCPU_ARRAY(exec_record, struct kd_exec, 1);
BPF_PERCPU_ARRAY(oom_record, struct kd_oom, 1);
BPF_PERCPU_ARRAY(cgroup_record, struct kd_cgroup, 1);

KD_INLINE u32 kd_number_of(u64 task, u32 pid_ns)
{
	u64 pid, numbers;
	u32 level;

	if (pid_ns == KD_INITIAL_PID_NAMESPACE)
		return KD_READ(u32, task, AT_task_struct_pid);
	pid = KD_READ(u64, task, AT_task_struct_thread_pid);
	level = KD_READ(u32, pid, AT_pid_level);
	numbers = pid + AT_pid_numbers;
#pragma unroll
	for (u32 at = 0; at < KD_PID_NAMESPACES; at++) {
		u64 number = numbers + at * SIZE_upid;

		if (at <= level &&
		    KD_READ(u32, KD_READ(u64, number, AT_upid_ns), AT_pid_namespace_ns_inum) == pid_ns)
			return KD_READ(u32, number, AT_upid_nr);
	}
	return 0;
}

/* The process in the pid namespace that it is in. */
KD_INLINE u64 kd_own_number(u64 leader)
{
	u64 pid = KD_READ(u64, leader, AT_task_struct_thread_pid);

	return pid + AT_pid_numbers + KD_READ(u32, pid, AT_pid_level) * SIZE_upid;
}

KD_INLINE bool kd_is_first(u64 leader)
{
	return KD_READ(u32, kd_own_number(leader), AT_upid_nr) == 1;
}

KD_INLINE u64 kd_cgroup_id(u64 cgroup)
{
	u64 id = KD_READ(u64, KD_READ(u64, cgroup, AT_cgroup_kn), AT_kernfs_node_id);

#ifdef KD_ID_WITH_GENERATION
	id &= 0xffffffff; /* the inode; before Linux 5.5 the generation stands beside it */
#endif
	return id;
}

KD_INLINE u64 kd_memory_of(u64 task)
{
#ifdef KD_MEMORY_SLOT
	return KD_READ(u64, KD_READ(u64, task, AT_task_struct_cgroups), AT_css_set_subsys + 8 * KD_MEMORY_SLOT);
#else
	return 0;
#endif
}

KD_INLINE u64 kd_cgroup_of(u64 task)
{
	u64 unified = kd_cgroup_id(KD_READ(u64, KD_READ(u64, task, AT_task_struct_cgroups), AT_css_set_dfl_cgrp));
	u64 memory;

	if (unified != KD_UNIFIED_ROOT)
		return unified;
	memory = kd_memory_of(task);
	return memory ? kd_cgroup_id(KD_READ(u64, memory, AT_cgroup_subsys_state_cgroup)) : unified;
}

KD_INLINE void kd_describe(struct kd_party *party, u64 task, u64 leader, u32 pid, u32 pid_ns)
{
	u64 parent = KD_READ(u64, leader, AT_task_struct_real_parent);
	u64 mm = KD_READ(u64, task, AT_task_struct_mm), inode = 0;

	if (mm)
		inode = KD_READ(u64, KD_READ(u64, mm, AT_mm_struct_exe_file), AT_file_f_inode);
	party->file = inode ? KD_READ(u64, inode, AT_inode_i_ino) : 0;
	party->file_device = inode ? KD_READ(u32, KD_READ(u64, inode, AT_inode_i_sb), AT_super_block_s_dev) : 0;
	party->pid_ns = KD_READ(u32, KD_READ(u64, kd_own_number(leader), AT_upid_ns), AT_pid_namespace_ns_inum);
	party->start_ns = KD_READ(u64, leader, AT_task_struct_start);
	party->cgroup_id = kd_cgroup_of(task);
	party->pid = pid;
	party->tid = task == leader ? pid : kd_number_of(task, pid_ns);
	party->parent_pid = kd_number_of(KD_READ(u64, parent, AT_task_struct_group_leader), pid_ns);
	party->host_pid = KD_READ(u32, task, AT_task_struct_tgid);
	party->uid = KD_READ(u32, KD_READ(u64, task, AT_task_struct_real_cred), AT_cred_uid);
	bpf_probe_read(party->name, sizeof(party->name), (void *)(leader + AT_task_struct_comm));
}

KD_INLINE void kd_describe_current(struct kd_party *party, u32 pid_ns)
{
	u64 task = bpf_get_current_task();
	u64 leader = KD_READ(u64, task, AT_task_struct_group_leader);

	kd_describe(party, task, leader, kd_number_of(leader, pid_ns), pid_ns);
}

KD_INLINE bool kd_is_watched(struct kd_config *cfg, u32 pid, u64 leader)
{
	u64 *start;

	if (!cfg->watching || !cfg->tick_ns)
		return false;
	start = watch.lookup(&pid);
	return start && *start == KD_READ(u64, leader, AT_task_struct_start) / cfg->tick_ns;
}

KD_INLINE bool kd_is_chosen(struct kd_config *cfg, u64 task)
{
	u64 cgroup;

	if (!cfg->choosing)
		return false;
	cgroup = kd_cgroup_of(task);
	return chosen.lookup(&cgroup);
}

KD_INLINE bool kd_may_tell(u32 buffer)
{
	u32 only = 0;
	u64 *drain = drains.lookup(&only);
	struct kd_spent *here = spent.lookup(&buffer);

	if (!drain || !here)
		return false;
	if (here->drain != *drain) {
		here->drain = *drain;
		here->records = 0;
	}
	here->records += 1;
	return here->records <= KD_MOST_IN_A_DRAIN;
}

KD_INLINE void kd_count_lost(u32 slot)
{
	u64 *count = lost.lookup(&slot);

	if (count)
		*count += 1;
}

#define KD_BEGIN(event, its_kind, its_flags)                                                                    \
	__builtin_memset(event, 0, sizeof(*(event)));                                                        \
	(event)->at_boot_ns = bpf_ktime_get_ns();                                                            \
	(event)->kind = its_kind;                                                                            \
	(event)->flags = its_flags

/* Whether it ends the process unless that does something about it, and it has not said so. */
KD_INLINE bool kd_is_deadly(u64 task, u32 signal)
{
	u64 actions;

	if (KD_HARMLESS >> ((signal - 1) & 63) & 1)
		return false;
	actions = KD_READ(u64, task, AT_task_struct_sighand) + AT_sighand_struct_action;
	return !KD_READ(u64, actions, ((signal - 1) & 63) * SIZE_k_sigaction);
}

/* Whether the kernel has begun to end the process for it, or is about to dump its core. */
KD_INLINE bool kd_is_fatal(u64 task, u32 signal)
{
	u64 group = KD_READ(u64, task, AT_task_struct_signal), bit = 1UL << ((signal - 1) & 63);

	if (KD_READ(u32, group, AT_signal_struct_flags) & KD_SIGNAL_GROUP_EXIT)
		return KD_READ(u32, group, AT_signal_struct_group_exit_code) == signal;
	return KD_CORE_DUMPING & bit && !(KD_READ(u64, task, AT_task_struct_blocked) & bit) &&
	       !KD_READ(u32, task, AT_task_struct_ptrace);
}

/* What can be said of how a signal came about from who runs while it is sent. */
KD_INLINE u32 kd_circumstances(u64 siginfo)
{
	u64 task = bpf_get_current_task();
	u32 flags = siginfo == KD_BY_KERNEL_NOINFO ? KD_INTERNAL : 0;

	if (KD_READ(u32, task, AT_task_struct_flags) & KD_PF_EXITING)
		flags |= KD_EXITING;
	if (kd_is_first(KD_READ(u64, task, AT_task_struct_group_leader)))
		flags |= KD_NS_INIT;
	return flags;
}

int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	u32 only = 0, signal = ctx->args[0], pid, sender;
	u64 siginfo = ctx->args[1], task = ctx->args[2], leader;
	struct kd_config *cfg = config.lookup(&only);
	struct kd_signal *event = signal_record.lookup(&only);
	bool wanted, asked, watched, special, by_process, deadly;
	int code;

	if (!cfg || !event)
		return 0;
#ifndef KD_MARK_VICTIM_TASK
	if (signal == KD_SIGKILL && siginfo == KD_BY_KERNEL_PRIV) {
		u64 killer = bpf_get_current_pid_tgid();

		condemned.update(&killer, &task);
	}
#endif
	deadly = kd_is_deadly(task, signal);
	wanted = cfg->signals >> ((signal - 1) & 63) & 1 || deadly;
	asked = wanted && cfg->verdicts >> (ctx->args[4] & 31) & 1;
	if (!asked && !cfg->watching && !cfg->choosing)
		goto passed_over;
	leader = KD_READ(u64, task, AT_task_struct_group_leader);
	pid = kd_number_of(leader, cfg->pid_ns);
	watched = kd_is_watched(cfg, pid, leader);
	special = watched || kd_is_chosen(cfg, task);
	if (!pid || (!asked && !special))
		goto passed_over;

	code = siginfo == KD_BY_KERNEL_NOINFO ? KD_SI_USER :
	       siginfo == KD_BY_KERNEL_PRIV   ? KD_SI_KERNEL :
					     KD_READ(int, siginfo, KD_SI_CODE_AT);
	by_process = code == KD_SI_USER || code == KD_SI_QUEUE || code == KD_SI_TKILL;
	sender = bpf_get_current_pid_tgid() >> 32;
	if (!wanted && (!by_process || sender == KD_READ(u32, task, AT_task_struct_tgid)))
		goto passed_over;

	KD_BEGIN(event, KD_SIGNAL, kd_circumstances(siginfo) | (watched ? KD_WATCHED : 0));
	if (!by_process)
		event->flags |= KD_NO_SENDER;
	deadly = deadly && ctx->args[4] == KD_DELIVERED;
	if (deadly && kd_is_fatal(task, signal))
		event->flags |= KD_FATAL;
	kd_describe_current(&event->sender, cfg->pid_ns);
	kd_describe(&event->target, task, leader, pid, cfg->pid_ns);
	event->signal = signal;
	event->code = code;
	event->group = ctx->args[3] != 0;
	event->verdict = ctx->args[4];
	if (watched) {
		if (!kd_may_tell(KD_RARE) || rare.perf_submit(ctx, event, sizeof(*event)))
			kd_count_lost(KD_LOST_WATCHED_SIGNAL);
	} else if (deadly) {
		if (!kd_may_tell(KD_ENDS) || ends.perf_submit(ctx, event, sizeof(*event)))
			kd_count_lost(KD_LOST_DEADLY_SIGNAL);
	} else if (!kd_may_tell(KD_BULK) || bulk.perf_submit(ctx, event, sizeof(*event))) {
		kd_count_lost(KD_LOST_SIGNAL);
	}
	return 0;

passed_over:
	kd_count_lost(KD_LOST_FILTERED_SIGNAL);
	return 0;
}

KD_INLINE u32 kd_status_of(u64 leader)
{
	u64 group = KD_READ(u64, leader, AT_task_struct_signal);

	if (KD_READ(u32, group, AT_signal_struct_flags) & KD_SIGNAL_GROUP_EXIT)
		return KD_READ(u32, group, AT_signal_struct_group_exit_code);
	return KD_READ(u32, leader, AT_task_struct_exit_code);
}

int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u32 only = 0, pid, status, flags = 0;
	u64 task = ctx->args[0], leader;
	struct kd_config *cfg = config.lookup(&only);
	struct kd_exit *event = exit_record.lookup(&only);
	bool watched, special;

	if (!cfg || !event)
		return 0;
#ifdef KD_GROUP_DEAD
	if (!(bool)ctx->args[1])
		return 0;
#else
	if (KD_READ(u32, KD_READ(u64, task, AT_task_struct_signal), AT_signal_struct_live))
		return 0;
	flags = KD_DOUBTFUL;
#endif
	leader = KD_READ(u64, task, AT_task_struct_group_leader);
	status = kd_status_of(leader);
	if (!(status & 0x7f) && !cfg->watching && !cfg->choosing)
		goto passed_over;
	pid = kd_number_of(leader, cfg->pid_ns);
	watched = kd_is_watched(cfg, pid, leader);
	special = watched || kd_is_chosen(cfg, task);
	if (!pid || (!(status & 0x7f) && !special))
		goto passed_over;

	KD_BEGIN(event, KD_EXIT, flags | (watched ? KD_WATCHED : 0));
	kd_describe(&event->process, task, leader, pid, cfg->pid_ns);
	event->status = status;
	if (watched) {
		if (!kd_may_tell(KD_RARE) || rare.perf_submit(ctx, event, sizeof(*event)))
			kd_count_lost(KD_LOST_WATCHED_EXIT);
	} else if (!kd_may_tell(KD_ENDS) || ends.perf_submit(ctx, event, sizeof(*event))) {
		kd_count_lost(KD_LOST_EXIT);
	}
	return 0;

passed_over:
	kd_count_lost(KD_LOST_FILTERED_EXIT);
	return 0;
}

int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0], program = ctx->args[2], leader;
	u32 only = 0, pid;
	struct kd_config *cfg = config.lookup(&only);
	struct kd_exec *event = exec_record.lookup(&only);
	bool watched;

	if (!cfg || !event)
		return 0;
	leader = KD_READ(u64, task, AT_task_struct_group_leader);
	pid = kd_number_of(leader, cfg->pid_ns);
	if (!pid)
		return 0;
	watched = kd_is_watched(cfg, pid, leader);

	KD_BEGIN(event, KD_EXEC, watched ? KD_WATCHED : 0);
	kd_describe(&event->process, task, leader, pid, cfg->pid_ns);
	bpf_probe_read_str(event->file, sizeof(event->file), (void *)KD_READ(u64, program, AT_linux_binprm_filename));
	if (watched) {
		if (!kd_may_tell(KD_RARE) || rare.perf_submit(ctx, event, sizeof(*event)))
			kd_count_lost(KD_LOST_WATCHED_EXEC);
	} else if (!kd_may_tell(KD_BULK) || bulk.perf_submit(ctx, event, sizeof(*event))) {
		kd_count_lost(KD_LOST_EXEC);
	}
	return 0;
}

KD_INLINE void kd_measure(struct kd_oom *event, u64 victim)
{
	u64 group = KD_READ(u64, victim, AT_task_struct_signal);
	u64 mm = KD_READ(u64, victim, AT_task_struct_mm);
	u64 resident;

	if (!mm)
		mm = KD_READ(u64, group, AT_signal_struct_oom_mm);
	resident = mm + AT_mm_struct_rss_stat + KD_RSS_COUNT_AT;
	event->total_vm = KD_READ(u64, mm, AT_mm_struct_total_vm);
	event->file_rss = KD_READ(s64, resident, 0);
	event->anon_rss = KD_READ(s64, resident, KD_RSS_STRIDE);
	event->shmem_rss = KD_READ(s64, resident, 3 * KD_RSS_STRIDE);
	event->page_tables = KD_READ(u64, mm, AT_mm_struct_pgtables_bytes);
	event->oom_score_adj = KD_READ(s16, group, AT_signal_struct_oom_score_adj);
}

#ifdef KD_MEMORY_SLOT
#define KD_GROUP_OF(state) ((state) - AT_mem_cgroup_css)
#define KD_LIMIT_OF(state) KD_READ(u64, KD_GROUP_OF(state), AT_mem_cgroup_memory_max)
#define KD_USE_OF(state) KD_READ(u64, KD_GROUP_OF(state), AT_mem_cgroup_memory_usage)
#define KD_ABOVE(state) KD_READ(u64, state, AT_cgroup_subsys_state_parent)

KD_INLINE bool kd_at_its_limit(u64 state)
{
	u64 limit = KD_LIMIT_OF(state);

	return limit < KD_NO_LIMIT && KD_USE_OF(state) + KD_CHARGE_BATCH >= limit;
}

/* Which cgroup's limit fired, asked as in agent/bpf/memory.h: the lock that it holds, else the one that is full. */
KD_INLINE u64 kd_limited_above(u64 trigger, u64 victim)
{
	u64 found = 0;

#ifdef KD_OOM_LOCK
#pragma unroll
	for (int level = 0; level < KD_MEMORY_LEVELS; level++) {
		if (victim && KD_READ(u8, KD_GROUP_OF(victim), AT_mem_cgroup_oom_lock))
			found = victim;
		victim = victim ? KD_ABOVE(victim) : 0;
	}
#else
#pragma unroll
	for (int level = 0; level < KD_MEMORY_LEVELS; level++)
		if (trigger && !kd_at_its_limit(trigger))
			trigger = KD_ABOVE(trigger);
	if (!trigger || !kd_at_its_limit(trigger))
		return 0;
#pragma unroll
	for (int level = 0; level < KD_MEMORY_LEVELS; level++) {
		if (victim == trigger)
			found = trigger;
		victim = victim ? KD_ABOVE(victim) : 0;
	}
#endif
	return found;
}

KD_INLINE void kd_find_limit(struct kd_oom *event, u64 trigger, u64 task)
{
	u64 victim = kd_memory_of(task), limited = kd_limited_above(kd_memory_of(trigger), victim), above = victim;
	bool whole = false;

#pragma unroll
	for (int level = 0; level < KD_MEMORY_LEVELS; level++) {
		if (above && !limited && KD_USE_OF(above) > KD_LIMIT_OF(above))
			limited = above; /* a limit that was lowered below what is in use */
		above = above ? KD_ABOVE(above) : 0;
	}
	if (limited) {
		event->flags |= KD_LIMIT_FOUND;
		event->limit_cgroup_id = kd_cgroup_id(KD_READ(u64, limited, AT_cgroup_subsys_state_cgroup));
		event->limit = KD_LIMIT_OF(limited);
	}
	above = victim;
#pragma unroll
	for (int level = 0; level < KD_MEMORY_LEVELS; level++) {
		if (above && KD_READ(u8, KD_GROUP_OF(above), AT_mem_cgroup_oom_group))
			whole = true;
		above = above && above != limited ? KD_ABOVE(above) : 0;
	}
	if (whole)
		event->flags |= KD_OOM_GROUP;
}
#else
KD_INLINE void kd_find_limit(struct kd_oom *event, u64 trigger, u64 task)
{
}
#endif

int on_oom(struct bpf_raw_tracepoint_args *ctx)
{
	u32 only = 0, pid;
	u64 victim = ctx->args[0], leader;
	struct kd_config *cfg = config.lookup(&only);
	struct kd_oom *event = oom_record.lookup(&only);

	if (!cfg || !event)
		return 0;
#ifndef KD_MARK_VICTIM_TASK
	{
		u64 killer = bpf_get_current_pid_tgid();
		u64 *found = condemned.lookup(&killer);
		u32 marked = ctx->args[0];

		victim = found ? *found : 0;
		if (!victim || KD_READ(u32, victim, AT_task_struct_pid) != marked)
			return 0;
	}
#endif
	leader = KD_READ(u64, victim, AT_task_struct_group_leader);
	pid = kd_number_of(leader, cfg->pid_ns);
	if (!pid)
		return 0;

	KD_BEGIN(event, KD_OOM, kd_is_watched(cfg, pid, leader) ? KD_WATCHED : 0);
	kd_describe(&event->victim, victim, leader, pid, cfg->pid_ns);
	kd_describe_current(&event->trigger, cfg->pid_ns);
	kd_measure(event, victim);
	kd_find_limit(event, bpf_get_current_task(), victim);
	if (!kd_may_tell(KD_RARE) || rare.perf_submit(ctx, event, sizeof(*event)))
		kd_count_lost(KD_LOST_OOM);
	return 0;
}

int on_cgroup(struct bpf_raw_tracepoint_args *ctx)
{
	u64 cgroup = ctx->args[0], root = KD_READ(u64, cgroup, AT_cgroup_root);
	u64 memory = kd_memory_of(bpf_get_current_task());
	u32 only = 0;
	struct kd_cgroup *event = cgroup_record.lookup(&only);

	if (!event)
		return 0;
	memory = KD_READ(u64, memory, AT_cgroup_subsys_state_cgroup);
	if (KD_READ(int, root, AT_cgroup_root_hierarchy_id) != KD_UNIFIED_HIERARCHY &&
	    root != KD_READ(u64, memory, AT_cgroup_root))
		return 0;
	KD_BEGIN(event, KD_CGROUP, 0);
	event->id = kd_cgroup_id(cgroup);
	bpf_probe_read_str(event->path, sizeof(event->path), (void *)ctx->args[1]);
	if (!kd_may_tell(KD_ENDS) || ends.perf_submit(ctx, event, sizeof(*event)))
		kd_count_lost(KD_LOST_CGROUP);
	return 0;
}
