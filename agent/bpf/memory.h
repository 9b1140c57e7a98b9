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

/*
 * No tracepoint says which limit fired. Inferred: the first cgroup at its limit, from the one that asked for
 * memory upwards, if the victim lives below it too. None: the whole machine, or a NUMA restriction.
 */
static __always_inline void find_limit(struct kd_oom *event, struct task_struct *trigger,
				       struct task_struct *victim)
{
	struct cgroup_subsys_state *limited = memory_of(trigger), *above = memory_of(victim);

	event->limit_cgroup_id = 0;
	event->limit = 0;
	if (!bpf_core_type_exists(struct mem_cgroup))
		return;
	for (int level = 0; level < MEMORY_LEVELS && limited && !at_its_limit(limited); level++)
		limited = BPF_CORE_READ(limited, parent);
	if (!limited || !at_its_limit(limited))
		return;
	for (int level = 0; level < MEMORY_LEVELS && above && above != limited; level++)
		above = BPF_CORE_READ(above, parent);
	if (above != limited)
		return;
	event->head.flags |= KD_LIMIT_FOUND;
	event->limit_cgroup_id = cgroup_id(BPF_CORE_READ(limited, cgroup));
	event->limit = BPF_CORE_READ(group_of(limited), memory.max);
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
