/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who a task is, as the agent names it: pids of the agent's pid namespace, start, cgroup, name. */
#pragma once

#define INITIAL_PID_NAMESPACE 0xEFFFFFFC /* PROC_PID_INIT_INO: every task has its own number there */
#define DEEPEST_PID_NAMESPACE 32	 /* MAX_PID_NS_LEVEL */
#define UNIFIED_ROOT 1			 /* id of the root of the unified hierarchy */

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

static __always_inline __u32 number_of(struct task_struct *task, __u32 pid_ns)
{
	if (pid_ns == INITIAL_PID_NAMESPACE)
		return BPF_CORE_READ(task, pid);
	return number_in((__u64)BPF_CORE_READ(task, thread_pid), pid_ns);
}

/* The process in the pid namespace that it is in; NULL: that is the initial one. */
static __always_inline struct upid *own_number(struct task_struct *leader)
{
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	__u64 numbers = (__u64)pid + bpf_core_field_offset(struct pid, numbers);
	__u32 level = BPF_CORE_READ(pid, level);

	return level ? (struct upid *)(numbers + level * bpf_core_type_size(struct upid)) : NULL;
}

/* Whether `current` is the first process of the pid namespace that it is in. */
static __always_inline bool is_first(struct task_struct *leader)
{
	struct upid *own = own_number(leader);

	return own ? BPF_CORE_READ(own, nr) == 1 : bpf_get_current_pid_tgid() >> 32 == 1;
}

static __always_inline __u32 namespace_of(struct task_struct *leader)
{
	struct upid *own = own_number(leader);

	return own ? BPF_CORE_READ(own, ns, ns.inum) : INITIAL_PID_NAMESPACE;
}

static __always_inline __u64 started(struct task_struct *leader)
{
	if (bpf_core_field_exists(leader->start_boottime))
		return BPF_CORE_READ(leader, start_boottime);
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
static __always_inline struct cgroup_subsys_state *memory_of(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *state = NULL;
	__u64 slots = (__u64)set + bpf_core_field_offset(struct css_set, subsys);

	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		bpf_probe_read_kernel(&state, sizeof(state),
				      (void *)(slots + 8 * bpf_core_enum_value(enum cgroup_subsys_id,
									       memory_cgrp_id)));
	return state;
}

/* The file that it executes, which tells its path to who can look: a path cannot be had here. */
static __always_inline void find_file(struct kd_party *party, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct inode *inode = mm ? BPF_CORE_READ(mm, exe_file, f_inode) : NULL;

	party->file = inode ? BPF_CORE_READ(inode, i_ino) : 0;
	party->file_device = inode ? BPF_CORE_READ(inode, i_sb, s_dev) : 0;
}

/* Reads are what an event costs; of `current` much can be had without. */
static __always_inline __u64 cgroup_of(struct task_struct *task, bool is_current)
{
	__u64 unified = is_current ? bpf_get_current_cgroup_id() :
				     cgroup_id(BPF_CORE_READ(task, cgroups, dfl_cgrp));
	struct cgroup_subsys_state *memory;

	if (unified != UNIFIED_ROOT)
		return unified;
	memory = memory_of(task);
	return memory ? cgroup_id(BPF_CORE_READ(memory, cgroup)) : unified;
}

/* `leader` and `pid` are the task's: whoever calls has them already. */
static __always_inline void describe(struct kd_party *party, struct task_struct *task,
				     struct task_struct *leader, __u32 pid, __u32 pid_ns, bool is_current)
{
	party->start_ns = started(leader);
	party->pid_ns = namespace_of(leader);
	find_file(party, task);
	party->cgroup_id = cgroup_of(task, is_current);
	party->pid = pid;
	party->tid = task == leader ? pid : number_of(task, pid_ns);
	party->parent_pid = number_of(BPF_CORE_READ(leader, real_parent, group_leader), pid_ns);
	party->host_pid = is_current ? bpf_get_current_pid_tgid() >> 32 : BPF_CORE_READ(task, tgid);
	party->uid = is_current ? bpf_get_current_uid_gid() : BPF_CORE_READ(task, real_cred, uid.val);
	bpf_probe_read_kernel(party->name, sizeof(party->name), leader->comm);
	party->pad = 0;
}

static __always_inline void describe_current(struct kd_party *party, __u32 pid_ns)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	describe(party, task, leader, number_of(leader, pid_ns), pid_ns, true);
}
