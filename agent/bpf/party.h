/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Who a task is, as the agent names it: pids of the agent's pid namespace, start, cgroup, name. */
#pragma once

#define INITIAL_PID_NAMESPACE 0xEFFFFFFC /* PROC_PID_INIT_INO: every task has its own number there */
#define DEEPEST_PID_NAMESPACE 32	 /* MAX_PID_NS_LEVEL */
#define UNIFIED_ROOT 1			 /* id of the root of the unified hierarchy */

/*
 * Reads are what an event costs. What the verifier knows the type of is loaded as plain memory, at a tenth of a read's
 * price; a fault gives 0, as with a read. It knows what the tracepoints of `tp_btf` hand over, what is loaded from
 * that, and from 5.11 on `current`.
 *
 * From 6.2 on each load of a pointer from what it also trusts has it look through all of the kernel's types. Such
 * kernels give any address a type at no cost and trust nothing that comes of it, so all goes through that there. It is
 * a function of the kernel's own, which libbpf looks for in modules where there is none, and for that one must be
 * root: therefore the object is built twice, with KD_CASTS and without.
 */
#ifdef KD_CASTS
extern void *bpf_rdonly_cast(const void *address, __u32 btf_id) __ksym;
#define TYPED(type, address) ((struct type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(struct type)))
#define CURRENT_KNOWN true
#else
#define TYPED(type, address) ((struct type *)(address))
#define CURRENT_KNOWN bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)
#endif
#define GET(known, pointer, field) ((known) ? (pointer)->field : BPF_CORE_READ(pointer, field))

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
static __always_inline struct upid *own_number(struct task_struct *leader, bool known)
{
	struct pid *pid = GET(known, leader, thread_pid);
	__u32 level = GET(known, pid, level);
	__u64 numbers;

	if (!level)
		return NULL;
	/* Read, since the verifier lets nothing be added to what it knows but constants. */
	numbers = (__u64)BPF_CORE_READ(leader, thread_pid) + bpf_core_field_offset(struct pid, numbers);
	return (struct upid *)(numbers + level * bpf_core_type_size(struct upid));
}

/* Whether `current`, whose first thread this is, is the first process of the pid namespace that it is in. */
static __always_inline bool is_first(struct task_struct *leader, bool known)
{
	struct upid *own = own_number(leader, known);

	return own ? BPF_CORE_READ(own, nr) == 1 : bpf_get_current_pid_tgid() >> 32 == 1;
}

static __always_inline __u32 namespace_of(struct task_struct *leader, bool known)
{
	struct upid *own = own_number(leader, known);

	return own ? BPF_CORE_READ(own, ns, ns.inum) : INITIAL_PID_NAMESPACE;
}

static __always_inline __u64 started(struct task_struct *leader, bool known)
{
	if (bpf_core_field_exists(leader->start_boottime))
		return GET(known, leader, start_boottime);
	return BPF_CORE_READ((struct task_struct___real *)leader, real_start_time);
}

static __always_inline __u64 cgroup_id(struct cgroup *cgroup, bool known)
{
	struct kernfs_node *node = GET(known, cgroup, kn);

	if (bpf_core_field_exists(((struct kernfs_node___union *)0)->id.id))
		return BPF_CORE_READ((struct kernfs_node___union *)node, id.id);
	return GET(known, node, id);
}

/* The memory controller's state of the task's cgroup; NULL on a kernel without it. */
static __always_inline struct cgroup_subsys_state *memory_of(struct css_set *set, bool known)
{
	struct cgroup_subsys_state **slot, *state = NULL;

	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return NULL;
	slot = (void *)set + bpf_core_field_offset(struct css_set, subsys) +
	       8 * bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	if (known)
		return *slot;
	bpf_probe_read_kernel(&state, sizeof(state), slot);
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

static __always_inline __u64 cgroup_of(struct task_struct *task, bool is_current, bool known)
{
	struct css_set *set = GET(known, task, cgroups);
	__u64 unified = is_current ? bpf_get_current_cgroup_id() : cgroup_id(GET(known, set, dfl_cgrp), known);
	struct cgroup_subsys_state *memory;

	if (unified != UNIFIED_ROOT)
		return unified;
	memory = memory_of(set, known);
	return memory ? cgroup_id(GET(known, memory, cgroup), known) : unified;
}

/* `pid` is the task's: whoever calls has it already. */
static __always_inline void describe(struct kd_party *party, struct task_struct *task, __u32 pid, __u32 pid_ns,
				     bool is_current, bool known)
{
	struct task_struct *leader = GET(known, task, group_leader);
	struct task_struct *parent = GET(known, leader, real_parent);
	const struct cred *credentials = GET(known, task, real_cred);

	party->start_ns = started(leader, known);
	party->pid_ns = namespace_of(leader, known);
	find_file(party, GET(known, task, mm), known);
	party->cgroup_id = cgroup_of(task, is_current, known);
	party->pid = pid;
	party->tid = task == leader ? pid : number_of(task, pid_ns, known);
	party->parent_pid = number_of(GET(known, parent, group_leader), pid_ns, known);
	party->host_pid = GET(known, task, tgid);
	party->uid = GET(known, credentials, uid.val);
	bpf_probe_read_kernel(party->name, sizeof(party->name), leader->comm);
	party->pad = 0;
}
