/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Killdeer's kernel evidence: five tracepoints, one question each. Who signalled whom, and what did the
 * kernel make of it? What has died, and of what? Which program runs there now? Whom did the OOM killer take?
 * What is a new cgroup called?
 *
 * Needs: BTF, ring buffers and bpf_ktime_get_boot_ns (5.8, or an enterprise kernel that has them); CAP_BPF
 * and CAP_PERFMON. Differences between kernels are felt for (CO-RE), never told by version.
 *
 * Filtered here: processes outside the agent's pid namespace; of processes that it neither watches nor has chosen by
 * their cgroup, signals out of its mask that end nobody, verdicts that it does not ask for, and ordinary exits. What
 * was kept and did not fit is counted in `lost`.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "vmlinux_min.h"
#include "events.h"
#include "party.h"
#include "memory.h"

#define BULK_WAKE_NS 4000000 /* waking for each event costs a busy host 50%; the reader lingers for longer */

#define SIGKILL 9
#define SIGNAL_GROUP_EXIT 4 /* signal_struct.flags: the status is the group's */
#define PF_EXITING 4	    /* task_struct.flags */
#define DELIVERED 0	    /* TRACE_SIGNAL_DELIVERED */

/* QUIT, ILL, TRAP, ABRT, BUS, FPE, SEGV, XCPU, XFSZ, SYS */
#define CORE_DUMPING 0x418004fcULL

/* CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH: bit n-1 for each signal whose default is not to end the process. */
#define HARMLESS 0x87f0000ULL

#define BY_KERNEL_NOINFO 0 /* SEND_SIG_NOINFO: stands for SI_USER, the sender is `current` */
#define BY_KERNEL_PRIV 1   /* SEND_SIG_PRIV: the kernel itself */
#define SI_USER 0
#define SI_KERNEL 0x80
#define SI_QUEUE -1
#define SI_TKILL -6

char LICENSE[] SEC("license") = "GPL"; /* the helpers that read kernel memory ask for it */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} rare SEC(".maps"); /* watched targets and OOM kills: a flood can't push them out */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} ends SEC(".maps"); /* signals that end a process, and the ends: a flood of others can't push them out */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} bulk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KD_LOST_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kd_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);   /* pid in the agent's namespace */
	__type(value, __u64); /* start, in ticks */
} watch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64); /* cgroup id, as parties have it */
	__type(value, __u8);
} chosen SEC(".maps"); /* all that befalls processes of these is told */

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);   /* who is killing: pid and tid */
	__type(value, __u64); /* the task it sent the kernel's own SIGKILL to last */
} condemned SEC(".maps"); /* only used where mark_victim gives no more than a pid */

enum ring { BULK, RARE, ENDS };

static __u64 woken_at[ENDS + 1];
const union kd_event *event_layouts __attribute__((unused)); /* puts the layouts into the object's BTF */

static __always_inline struct kd_config *configuration(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&config, &only);
}

static __always_inline bool is_watched(struct kd_config *cfg, __u32 pid, struct task_struct *leader, bool known)
{
	__u64 *start;

	if (!cfg->watching || !cfg->tick_ns)
		return false;
	start = bpf_map_lookup_elem(&watch, &pid);
	return start && *start == started(leader, known) / cfg->tick_ns;
}

static __always_inline bool is_chosen(struct kd_config *cfg, struct task_struct *task, bool is_current)
{
	__u64 cgroup;

	if (!cfg->choosing)
		return false;
	cgroup = cgroup_of(task, is_current, true);
	return bpf_map_lookup_elem(&chosen, &cgroup);
}

static __always_inline void count(__u32 slot)
{
	__u64 *counted = bpf_map_lookup_elem(&lost, &slot);

	if (counted)
		*counted += 1;
}

/* Room for an event in the ring it belongs to, its head filled; NULL, counted as lost, where there is none. */
static __always_inline void *begin(__u64 size, enum kd_kind kind, __u32 flags, enum ring to)
{
	struct kd_head *head;

	if (to == RARE)
		head = bpf_ringbuf_reserve(&rare, size, 0);
	else if (to == ENDS)
		head = bpf_ringbuf_reserve(&ends, size, 0);
	else
		head = bpf_ringbuf_reserve(&bulk, size, 0);
	if (!head) {
		count(kind + (to == RARE ? KD_LOST_RARE : to == ENDS ? KD_LOST_ENDS : 0));
		return NULL;
	}
	head->at_boot_ns = bpf_ktime_get_boot_ns();
	head->kind = kind;
	head->flags = flags;
	return head;
}

/*
 * Never with flags 0: the kernel then wakes only a reader that had caught up, so that one event sent without
 * a wake-up silences those after it.
 */
static __always_inline void end(void *event, enum ring to)
{
	__u64 now;

	if (to == RARE) {
		bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
		return;
	}
	now = ((struct kd_head *)event)->at_boot_ns;
	if (now - woken_at[to] >= BULK_WAKE_NS) {
		woken_at[to] = now;
		bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
	} else {
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	}
}

/* The verifier takes what a tracepoint hands over for memory, and tests of it for needless; these two are numbers. */
static __always_inline __u64 siginfo_of(__u64 *ctx)
{
	__u64 siginfo = BY_KERNEL_NOINFO;

	bpf_probe_read_kernel(&siginfo, sizeof(siginfo), &ctx[1]);
	return siginfo;
}

/* si_code. */
static __always_inline int code_of(__u64 siginfo)
{
	if (siginfo == BY_KERNEL_NOINFO)
		return SI_USER;
	if (siginfo == BY_KERNEL_PRIV)
		return SI_KERNEL;
	return BPF_CORE_READ((struct kernel_siginfo *)siginfo, si_code);
}

/* Whether it ends the process unless that does something about it, and it has not said so. */
static __always_inline bool is_deadly(struct task_struct *task, __u32 signal)
{
	__u64 actions;

	if (HARMLESS >> ((signal - 1) & 63) & 1)
		return false;
	if (signal == SIGKILL)
		return true;
	/* Read, since the verifier lets nothing be added to what it knows but constants. */
	actions = (__u64)BPF_CORE_READ(task, sighand) + bpf_core_field_offset(struct sighand_struct, action);
	return !BPF_CORE_READ((struct k_sigaction *)(actions + ((signal - 1) & 63) *
							       bpf_core_type_size(struct k_sigaction)),
			      sa.sa_handler);
}

/*
 * The tracepoint comes after complete_signal(), which has begun the end by then, unless there is a core to be
 * dumped or the signal is blocked; a signal after that is ignored. So this is the one that it dies of.
 */
static __always_inline bool is_fatal(struct task_struct *task, struct signal_struct *shared, __u32 signal)
{
	__u64 bit = 1ULL << ((signal - 1) & 63);

	if (shared->flags & SIGNAL_GROUP_EXIT)
		return (__u32)shared->group_exit_code == signal;
	return CORE_DUMPING & bit && !(task->blocked.sig[0] & bit) && !task->ptrace;
}

/* What can be said of how a signal came about from who runs while it is sent. */
static __always_inline __u32 circumstances(__u64 siginfo, struct task_struct *current, struct task_struct *leader,
					   bool known)
{
	__u32 flags = siginfo == BY_KERNEL_NOINFO ? KD_INTERNAL : 0;

	if (GET(known, current, flags) & PF_EXITING)
		flags |= KD_EXITING;
	if (is_first(leader, known))
		flags |= KD_NS_INIT;
	return flags;
}

static __always_inline int tell_signal(__u64 *ctx, bool known)
{
	struct kd_config *cfg = configuration();
	struct task_struct *target = TYPED(task_struct, ctx[2]), *target_leader = target->group_leader;
	struct task_struct *current, *current_leader;
	__u32 signal = (__u32)ctx[0], verdict = (__u32)ctx[4];
	struct kd_signal *event;
	__u64 siginfo;
	bool wanted, asked, watched, special, by_process, deadly;
	enum ring to;
	__u32 pid, sender, flags;
	int code;

	if (!cfg)
		return 0;
	if (!bpf_core_field_exists(struct trace_event_raw_mark_victim, oom_score_adj) && signal == SIGKILL &&
	    siginfo_of(ctx) == BY_KERNEL_PRIV) {
		__u64 killer = bpf_get_current_pid_tgid(), victim = (__u64)target;

		bpf_map_update_elem(&condemned, &killer, &victim, BPF_ANY);
	}
	deadly = is_deadly(target, signal);
	wanted = cfg->signals >> ((signal - 1) & 63) & 1 || deadly;
	asked = wanted && cfg->verdicts >> (verdict & 31) & 1;
	if (!asked && !cfg->watching && !cfg->choosing)
		goto passed_over;
	pid = number_of(target_leader, cfg->pid_ns, true);
	watched = is_watched(cfg, pid, target_leader, true);
	special = watched || is_chosen(cfg, target, false);
	if (!pid || (!asked && !special))
		goto passed_over;

	siginfo = siginfo_of(ctx);
	code = code_of(siginfo);
	by_process = code == SI_USER || code == SI_QUEUE || code == SI_TKILL;
	sender = bpf_get_current_pid_tgid() >> 32;
	/* Of other signals to such a process only those of others: runtimes tick themselves all the time. */
	if (!wanted && (!by_process || sender == (__u32)target->tgid))
		goto passed_over;

	current = known ? TYPED(task_struct, bpf_get_current_task_btf())
			: (struct task_struct *)bpf_get_current_task();
	current_leader = GET(known, current, group_leader);
	flags = circumstances(siginfo, current, current_leader, known) | (watched ? KD_WATCHED : 0) |
		(by_process ? 0 : KD_NO_SENDER);
	deadly = deadly && verdict == DELIVERED;
	if (deadly && is_fatal(target, target->signal, signal))
		flags |= KD_FATAL;
	to = watched ? RARE : deadly ? ENDS : BULK;
	event = begin(sizeof(*event), KD_SIGNAL, flags, to);
	if (!event)
		return 0;
	describe(&event->sender, current, number_of(current_leader, cfg->pid_ns, known), cfg->pid_ns, true, known);
	describe(&event->target, target, pid, cfg->pid_ns, false, true);
	event->signal = signal;
	event->code = code;
	event->group = ctx[3] != 0;
	event->verdict = verdict;
	end(event, to);
	return 0;

passed_over:
	count(KD_LOST_FILTERED_SIGNAL);
	return 0;
}

/* signal_generate(signal, siginfo, task, group, result): when a signal is sent, also one without effect. */
SEC("tp_btf/signal_generate")
int on_signal(__u64 *ctx)
{
	return CURRENT_KNOWN ? tell_signal(ctx, true) : tell_signal(ctx, false);
}

/* wait_task_zombie() reads it so: the group's status if the group was ended as one, else the first thread's. */
static __always_inline __u32 status_of(struct task_struct *leader, struct signal_struct *signal)
{
	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return leader->exit_code;
}

/* sched_process_exit(task[, group_dead]): each thread's, itself; the process has exited with its last. */
SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	struct kd_config *cfg = configuration();
	struct task_struct *task = TYPED(task_struct, ctx[0]), *leader = task->group_leader;
	struct signal_struct *signal = task->signal;
	struct kd_exit *event;
	__u32 pid, status, flags = 0;
	bool watched, special;

	if (!cfg)
		return 0;
	if (bpf_core_field_exists(struct trace_event_raw_sched_process_exit, group_dead)) {
		if (!(bool)ctx[1])
			return 0;
	} else {
		if (signal->live.counter)
			return 0;
		flags = KD_DOUBTFUL;
	}
	status = status_of(leader, signal);
	if (!(status & 0x7f) && !cfg->watching && !cfg->choosing)
		goto passed_over;
	pid = number_of(leader, cfg->pid_ns, true);
	watched = is_watched(cfg, pid, leader, true);
	special = watched || is_chosen(cfg, task, true);
	if (!pid || (!(status & 0x7f) && !special))
		goto passed_over;

	event = begin(sizeof(*event), KD_EXIT, flags | (watched ? KD_WATCHED : 0), watched ? RARE : ENDS);
	if (!event)
		return 0;
	describe(&event->process, task, pid, cfg->pid_ns, true, true);
	event->status = status;
	event->pad = 0;
	end(event, watched ? RARE : ENDS);
	return 0;

passed_over:
	count(KD_LOST_FILTERED_EXIT);
	return 0;
}

/* sched_process_exec(task, old_pid, bprm), its own: pid, start time and pidfds stay, the program is another. */
SEC("tp_btf/sched_process_exec")
int on_exec(__u64 *ctx)
{
	struct kd_config *cfg = configuration();
	struct task_struct *task = TYPED(task_struct, ctx[0]), *leader = task->group_leader;
	const char *file = ((struct linux_binprm *)ctx[2])->filename;
	struct kd_exec *event;
	bool watched;
	__u32 pid;

	if (!cfg)
		return 0;
	pid = number_of(leader, cfg->pid_ns, true);
	if (!pid)
		return 0;
	watched = is_watched(cfg, pid, leader, true);

	event = begin(sizeof(*event), KD_EXEC, watched ? KD_WATCHED : 0, watched ? RARE : BULK);
	if (!event)
		return 0;
	describe(&event->process, task, pid, cfg->pid_ns, true, true);
	if (bpf_probe_read_kernel_str(event->file, sizeof(event->file), file) < 0)
		event->file[0] = 0;
	end(event, watched ? RARE : BULK);
	return 0;
}

/* Older kernels give a pid: it is the task that the same killer has just sent the kernel's own SIGKILL to. */
static __always_inline struct task_struct *condemned_with(int pid)
{
	__u64 killer = bpf_get_current_pid_tgid();
	__u64 *found = bpf_map_lookup_elem(&condemned, &killer);
	struct task_struct *task = found ? (struct task_struct *)*found : NULL;

	return BPF_CORE_READ(task, pid) == pid ? task : NULL;
}

/* mark_victim(task, uid), before 6.8 mark_victim(pid): may also mark one that is exiting already. */
SEC("raw_tp/mark_victim")
int on_oom(struct bpf_raw_tracepoint_args *ctx)
{
	struct kd_config *cfg = configuration();
	struct task_struct *trigger = (struct task_struct *)bpf_get_current_task(), *victim, *leader;
	struct kd_oom *event;
	__u32 pid;

	if (!cfg)
		return 0;
	if (bpf_core_field_exists(struct trace_event_raw_mark_victim, oom_score_adj))
		victim = (struct task_struct *)ctx->args[0];
	else
		victim = condemned_with((int)ctx->args[0]);
	leader = BPF_CORE_READ(victim, group_leader);
	pid = number_of(leader, cfg->pid_ns, false);
	if (!pid)
		return 0;

	event = begin(sizeof(*event), KD_OOM, is_watched(cfg, pid, leader, false) ? KD_WATCHED : 0, RARE);
	if (!event)
		return 0;
	describe(&event->victim, victim, pid, cfg->pid_ns, false, false);
	leader = BPF_CORE_READ(trigger, group_leader);
	describe(&event->trigger, trigger, number_of(leader, cfg->pid_ns, false), cfg->pid_ns, true, false);
	measure(event, victim);
	find_limit(event, trigger, victim);
	end(event, RARE);
	return 0;
}

#define UNIFIED_HIERARCHY 0

/* cgroup_mkdir(cgroup, path). Of the hierarchies that parties are told in. */
SEC("raw_tp/cgroup_mkdir")
int on_cgroup(struct bpf_raw_tracepoint_args *ctx)
{
	struct cgroup *cgroup = (struct cgroup *)ctx->args[0];
	struct cgroup_root *root = BPF_CORE_READ(cgroup, root);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct cgroup_subsys_state *memory = memory_of(BPF_CORE_READ(task, cgroups), false);
	struct kd_cgroup *event;

	if (!configuration())
		return 0;
	if (BPF_CORE_READ(root, hierarchy_id) != UNIFIED_HIERARCHY && root != BPF_CORE_READ(memory, cgroup, root))
		return 0;
	event = begin(sizeof(*event), KD_CGROUP, 0, ENDS);
	if (!event)
		return 0;
	event->id = cgroup_id(cgroup, false);
	if (bpf_probe_read_kernel_str(event->path, sizeof(event->path), (void *)ctx->args[1]) < 0)
		event->path[0] = 0;
	end(event, ENDS);
	return 0;
}
