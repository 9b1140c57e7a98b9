/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who a task is, as the agent names it: pids of the agent's pid namespace, start, cgroup, name. */
#pragma once

#define INITIAL_PID_NAMESPACE 0xEFFFFFFC /* PROC_PID_INIT_INO: every task has its own number there */
#define DEEPEST_PID_NAMESPACE 32	 /* MAX_PID_NS_LEVEL */
#define UNIFIED_ROOT 1			 /* id of the root of the unified hierarchy */

/*
 * Reads are what an event costs. What the verifier knows to be a task is loaded as plain memory at a tenth of a read's
 * price, and a fault gives 0, as with a read: what a tracepoint hands over, and from 5.11 on `current`. But from 6.2 on
 * each load of a pointer out of such a task has it look through all of the kernel's types, once for each way through
 * the program: so these are loaded first of all, and what is behind others is read.
 */
struct known {
	struct task_struct *task;
	struct task_struct *leader;
	struct task_struct *parent; /* its first thread */
	struct pid *number;
	struct mm_struct *mm;
	const struct cred *credentials;
};

#define CURRENT_KNOWN bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)
#define GET(known, pointer, field) ((known) ? (pointer)->field : BPF_CORE_READ(pointer, field))

static __always_inline struct known acquaint(struct task_struct *task, bool known)
{
	struct task_struct *leader = GET(known, task, group_leader);
	struct task_struct *parent = GET(known, leader, real_parent);
	struct known them = {
		.task = task,
		.leader = leader,
		.parent = GET(known, parent, group_leader),
		.number = GET(known, leader, thread_pid),
		.mm = GET(known, task, mm),
		.credentials = GET(known, task, real_cred),
	};

	return them;
}

/*
 * The number that a `struct pid` has in the namespace with this inode; 0: none. Begins with the namespace
 * that the process itself is in, which nearly always is the agent's. Global, so that it is verified once.
 */
__attribute__((noinline)) __u32 number_in(__u64 pid_address, __u32 pid_ns)
{
	struct pid *pid = (struct pid *)pid_address;
	__u32 level = BPF_CORE_READ(pid, level);
	__u64 numbers = pid_address + bpf_core_field_offset(struct pid, numbers);

	for (__u32 up = 0; up <= DEEPEST_PID_NAMESPACE; up++) {
		struct upid *number;

		if (up > level)
			break;
		number = (struct upid *)(numbers + (level - up) * bpf_core_type_size(struct upid));
		if (BPF_CORE_READ(number, ns, ns.inum) == pid_ns)
			return BPF_CORE_READ(number, nr);
	}
	return 0;
}

static __always_inline __u32 number_of(struct task_struct *task, __u32 pid_ns, bool known)
{
	if (pid_ns == INITIAL_PID_NAMESPACE)
		return GET(known, task, pid);
	return number_in((__u64)BPF_CORE_READ(task, thread_pid), pid_ns);
}

/* The process in the pid namespace that it is in; NULL: that is the initial one. To be read, not loaded. */
static __always_inline struct upid *own_number(struct known them, bool known)
{
	struct task_struct *leader = them.leader;
	struct pid *pid = them.number;
	__u32 level = GET(known, pid, level);
	__u64 numbers;

	if (!level)
		return NULL;
	/* Read, since the verifier lets nothing be added to what it knows but constants. */
	numbers = (__u64)BPF_CORE_READ(leader, thread_pid) + bpf_core_field_offset(struct pid, numbers);
	return (struct upid *)(numbers + level * bpf_core_type_size(struct upid));
}

/* Whether `current` is the first process of the pid namespace that it is in. */
static __always_inline bool is_first(struct known current, bool known)
{
	struct upid *own = own_number(current, known);

	return own ? BPF_CORE_READ(own, nr) == 1 : bpf_get_current_pid_tgid() >> 32 == 1;
}

static __always_inline __u32 namespace_of(struct known them, bool known)
{
	struct upid *own = own_number(them, known);

	return own ? BPF_CORE_READ(own, ns, ns.inum) : INITIAL_PID_NAMESPACE;
}

static __always_inline __u64 started(struct task_struct *leader, bool known)
{
	if (bpf_core_field_exists(leader->start_boottime))
		return GET(known, leader, start_boottime);
	return BPF_CORE_READ((struct task_struct___real *)leader, real_start_time);
}

static __always_inline __u64 cgroup_id(struct cgroup *cgroup)
{
	struct kernfs_node *node = BPF_CORE_READ(cgroup, kn);

	if (bpf_core_field_exists(((struct kernfs_node___union *)0)->id.id))
		return BPF_CORE_READ((struct kernfs_node___union *)node, id.id);
	return BPF_CORE_READ(node, id);
}

/* The memory controller's state of the task's cgroup; NULL on a kernel without it. */
static __always_inline struct cgroup_subsys_state *memory_of(struct css_set *set)
{
	struct cgroup_subsys_state *state = NULL;
	__u64 slots = (__u64)set + bpf_core_field_offset(struct css_set, subsys);

	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		bpf_probe_read_kernel(&state, sizeof(state),
				      (void *)(slots + 8 * bpf_core_enum_value(enum cgroup_subsys_id,
									       memory_cgrp_id)));
	return state;
}

/* The file that it executes, which tells its path to who can look: a path cannot be had here. */
static __always_inline void find_file(struct kd_party *party, struct mm_struct *mm, bool known)
{
	struct file *file = mm ? GET(known, mm, exe_file) : NULL;
	struct inode *inode = file ? GET(known, file, f_inode) : NULL;
	struct super_block *device = inode ? GET(known, inode, i_sb) : NULL;

	party->file = inode ? GET(known, inode, i_ino) : 0;
	party->file_device = device ? GET(known, device, s_dev) : 0;
}

static __always_inline __u64 cgroup_of(struct task_struct *task, bool is_current)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	__u64 unified = is_current ? bpf_get_current_cgroup_id() : cgroup_id(BPF_CORE_READ(set, dfl_cgrp));
	struct cgroup_subsys_state *memory;

	if (unified != UNIFIED_ROOT)
		return unified;
	memory = memory_of(set);
	return memory ? cgroup_id(BPF_CORE_READ(memory, cgroup)) : unified;
}

/* `pid` is theirs: whoever calls has it already. */
static __always_inline void describe(struct kd_party *party, struct known them, __u32 pid, __u32 pid_ns,
				     bool is_current, bool known)
{
	struct task_struct *task = them.task, *leader = them.leader; /* what is read is named as the kernel's own */
	const struct cred *credentials = them.credentials;

	party->start_ns = started(leader, known);
	party->pid_ns = namespace_of(them, known);
	find_file(party, them.mm, known);
	party->cgroup_id = cgroup_of(task, is_current);
	party->pid = pid;
	party->tid = task == leader ? pid : number_of(task, pid_ns, known);
	party->parent_pid = number_of(them.parent, pid_ns, known);
	party->host_pid = GET(known, task, tgid);
	party->uid = GET(known, credentials, uid.val);
	bpf_probe_read_kernel(party->name, sizeof(party->name), leader->comm);
	party->pad = 0;
}
