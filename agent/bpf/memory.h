/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What an OOM kill was about: how much its victim held, and which cgroup's limit it ran into. */
#pragma once

#define MEMORY_LEVELS 32 /* cgroups looked at on the way up to the one at its limit */
#define CHARGE_BATCH 64	 /* pages; a limit counts as reached when a batch of them doesn't fit */
#define NO_LIMIT (0x7fffffffffffffffUL >> 16) /* pages; what a cgroup without a limit has, or more */

static __always_inline struct mem_cgroup *group_of(struct cgroup_subsys_state *state)
{
	return (struct mem_cgroup *)((__u64)state - bpf_core_field_offset(struct mem_cgroup, css));
}

static __always_inline bool at_its_limit(struct cgroup_subsys_state *state)
{
	struct mem_cgroup *group = group_of(state);
	__u64 limit = BPF_CORE_READ(group, memory.max);

	return limit < NO_LIMIT &&
	       (__u64)BPF_CORE_READ(group, memory.usage.counter) + CHARGE_BATCH >= limit;
}

/* More than it may have: only a limit that was just lowered below what is in use leaves a cgroup so. */
static __always_inline bool over_its_limit(struct cgroup_subsys_state *state)
{
	struct mem_cgroup *group = group_of(state);

	return (__u64)BPF_CORE_READ(group, memory.usage.counter) > BPF_CORE_READ(group, memory.max);
}

static __always_inline void limited_by(struct kd_oom *event, struct cgroup_subsys_state *limited)
{
	event->head.flags |= KD_LIMIT_FOUND;
	event->limit_cgroup_id = cgroup_id(BPF_CORE_READ(limited, cgroup), false);
	event->limit = BPF_CORE_READ(group_of(limited), memory.max);
}

/* The kernel's own rule (mem_cgroup_get_oom_group): any cgroup from the victim's up to the limited one. */
static __always_inline bool kills_group(struct cgroup_subsys_state *from, struct cgroup_subsys_state *limited)
{
	bool whole = false;

	if (!bpf_core_field_exists(((struct mem_cgroup *)0)->oom_group))
		return false;
	for (int level = 0; level < MEMORY_LEVELS && from && !whole; level++) {
		whole = BPF_CORE_READ(group_of(from), oom_group);
		if (from == limited)
			break;
		from = BPF_CORE_READ(from, parent);
	}
	return whole;
}

/* What a cgroup out of memory holds, down to the last below it, while its victim is killed: the highest held. */
static __always_inline struct cgroup_subsys_state *locked_above(struct cgroup_subsys_state *state)
{
	struct cgroup_subsys_state *highest = NULL;

	for (int level = 0; level < MEMORY_LEVELS && state; level++) {
		if (BPF_CORE_READ(group_of(state), oom_lock))
			highest = state;
		state = BPF_CORE_READ(state, parent);
	}
	return highest;
}

/* Where the kernel has no such lock: the first at its limit from who asked upwards, if the victim lives below. */
static __always_inline struct cgroup_subsys_state *full_above(struct cgroup_subsys_state *trigger,
							       struct cgroup_subsys_state *victim)
{
	for (int level = 0; level < MEMORY_LEVELS && trigger && !at_its_limit(trigger); level++)
		trigger = BPF_CORE_READ(trigger, parent);
	if (!trigger || !at_its_limit(trigger))
		return NULL;
	for (int level = 0; level < MEMORY_LEVELS && victim && victim != trigger; level++)
		victim = BPF_CORE_READ(victim, parent);
	return victim == trigger ? trigger : NULL;
}

/*
 * No tracepoint says which limit fired. A cgroup at its limit is no proof (caches fill it, and the whole machine
 * may be what is out of memory), so the lock is asked first. None found: the machine, or a NUMA restriction.
 */
static __always_inline void find_limit(struct kd_oom *event, struct task_struct *trigger,
				       struct task_struct *task)
{
	struct cgroup_subsys_state *victim = memory_of(BPF_CORE_READ(task, cgroups), false), *limited = NULL, *above = victim;

	event->limit_cgroup_id = 0;
	event->limit = 0;
	if (!bpf_core_type_exists(struct mem_cgroup))
		return;
	if (bpf_core_field_exists(((struct mem_cgroup *)0)->oom_lock))
		limited = locked_above(victim);
	else
		limited = full_above(memory_of(BPF_CORE_READ(trigger, cgroups), false), victim);
	for (int level = 0; level < MEMORY_LEVELS && !limited && above; level++) {
		if (over_its_limit(above))
			limited = above;
		above = BPF_CORE_READ(above, parent);
	}
	if (limited)
		limited_by(event, limited);
	if (kills_group(victim, limited))
		event->head.flags |= KD_OOM_GROUP;
}

#define RESIDENT(mm, which)                                                                                  \
	(bpf_core_field_exists(((struct mm_struct___atomic *)0)->rss_stat.count)                              \
		 ? BPF_CORE_READ((struct mm_struct___atomic *)(mm), rss_stat.count[which].counter)            \
		 : BPF_CORE_READ(mm, rss_stat[which].count))

static __always_inline void measure(struct kd_oom *event, struct task_struct *victim)
{
	struct signal_struct *signal = BPF_CORE_READ(victim, signal);
	struct mm_struct *mm = BPF_CORE_READ(victim, mm);

	if (!mm)
		mm = BPF_CORE_READ(signal, oom_mm);
	event->total_vm = BPF_CORE_READ(mm, total_vm);
	event->file_rss = RESIDENT(mm, 0); /* MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES */
	event->anon_rss = RESIDENT(mm, 1);
	event->shmem_rss = RESIDENT(mm, 3);
	event->page_tables = BPF_CORE_READ(mm, pgtables_bytes.counter);
	event->oom_score_adj = BPF_CORE_READ(signal, oom_score_adj);
}
